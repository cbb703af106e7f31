"""Randomness by name: a key is folded from what it is for, never from the order in which things happen."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np


def seed_of(*names: Any) -> int:
    """A 32-bit seed from names: `seed_of(7, "critique", prompt_id, round)`. The same names always give the same seed."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def rng(*names: Any) -> np.random.Generator:
    """A NumPy generator of its own for these names."""
    return np.random.Generator(np.random.PCG64(seed_of(*names)))


def share(name: str) -> float:
    """A number in [0, 1) that depends on the text alone: it decides on which side of a split a row falls."""
    return seed_of("split", name) / 2**32
