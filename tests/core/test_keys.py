"""Randomness by name: the same everywhere and always, and different for different names."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from scipy import stats

from solon.core.keys import rng, seed_of, share


def test_a_seed_is_the_same_in_every_process_and_release() -> None:
    """Written down: a change of these would change every result that was ever published."""
    assert seed_of() == 0xE3B0C442  # the first bytes of the SHA-256 of nothing (FIPS 180-4 examples)
    assert seed_of("abc") == 0xBA7816BF
    code = "from solon.core.keys import seed_of; print(seed_of(7, 'critique', 'p1', 3))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(out) == seed_of(7, "critique", "p1", 3)


def test_names_do_not_run_together() -> None:
    names = [("a", "bc"), ("ab", "c"), ("abc",), ("a", "b", "c"), ("", "abc"), ("abc", ""), (1, 23), (12, 3)]
    assert len({seed_of(*name) for name in names}) == len(names)


def test_generators_are_their_own() -> None:
    np.testing.assert_array_equal(rng("a", 1).random(5), rng("a", 1).random(5))
    assert not np.array_equal(rng("a", 1).random(5), rng("a", 2).random(5))


def test_shares_are_uniform() -> None:
    shares = [share(f"row {i}") for i in range(4000)]
    assert all(0 <= x < 1 for x in shares) and share("row 5") == shares[5]
    assert stats.kstest(shares, "uniform").pvalue > 1e-3
