"""Which tokens may be drawn, against sorting; how often they are drawn, against their probabilities."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from solon.generate.sample import Enabled, Settings, choose, gumbel, highest, threshold

V = 61


def settings(n: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> Settings:
    return Settings(*(jnp.full(n, x) for x in (temperature, top_k, top_p, min_p)))


def keys(n: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), n)


drawn = jax.jit(choose, static_argnums=2)
limits = jax.jit(threshold, static_argnums=2)


def candidates(logits: np.ndarray, top_k: int, top_p: float, min_p: float) -> set[int]:
    """By sorting in float64: the k best, of them those above the floor, of them the fewest with a mass of top_p."""
    ranked = list(np.argsort(-logits, kind="stable"))
    if top_k:
        ranked = ranked[:top_k]
    mass = np.exp(logits.astype(np.float64) - logits.max())
    ranked = [i for i in ranked if mass[i] >= min_p]
    share = np.cumsum(mass[ranked]) / mass[ranked].sum()
    return {int(i) for i in ranked[: int(np.searchsorted(share, top_p)) + 1]} if top_p < 1 else {int(i) for i in ranked}


CASES = [(k, p, m) for k in (0, 1, 7, 61) for p in (1.0, 0.01, 0.5, 0.9, 0.99) for m in (0.0, 0.05, 0.4)]


def test_truncations_keep_exactly_the_sets_that_sorting_keeps() -> None:
    """Rows of one batch each have their own settings. Flat and peaked logits, also far from zero, where the nucleus's
    border is a matter of one rounding."""
    rng = np.random.default_rng(0)
    cases = [(case, spread, shift) for case in CASES for spread in (0.3, 3.0) for shift in (0.0, 40.0, -300.0) for _ in range(4)]
    logits = np.stack([rng.normal(0, s, V) + c for _, s, c in cases]).astype(np.float32)
    own = Settings(jnp.ones(len(cases)), *(jnp.array([case[i] for case, _, _ in cases]) for i in range(3)))
    low = np.asarray(limits(jnp.asarray(logits), own, Enabled(61, True, True)))
    wrong = [
        (case, sorted(got ^ candidates(row, *case[0])))
        for case, row, least in zip(cases, logits, low, strict=True)
        if (got := set(np.flatnonzero(row >= least).tolist())) != candidates(row, *case[0])
    ]
    assert not wrong, (len(wrong), wrong[:5])


def test_a_truncation_that_is_not_compiled_in_changes_nothing() -> None:
    logits = jnp.asarray(np.random.default_rng(1).normal(0, 2, (8, V)), jnp.float32)
    off = limits(logits, settings(8), Enabled(5, True, True))
    np.testing.assert_array_equal(off, np.full(8, -np.inf))
    np.testing.assert_array_equal(off, limits(logits, settings(8), Enabled()))


def test_more_top_k_than_tokens_keeps_all() -> None:
    logits = jnp.asarray(np.random.default_rng(1).normal(0, 2, (2, V)), jnp.float32)
    low = limits(logits, settings(2, top_k=500), Enabled(500))
    np.testing.assert_array_equal(low, logits.min(-1))


def test_equally_good_tokens_stay_together() -> None:
    logits = jnp.array([[3.0, 1.0, 3.0, 3.0, 0.0]])
    for own, enabled in ((settings(1, top_k=2), Enabled(2)), (settings(1, top_p=0.4), Enabled(0, True))):
        assert set(np.flatnonzero(logits[0] >= limits(logits, own, enabled)[0])) == {0, 2, 3}


@pytest.mark.parametrize(
    ("temperature", "own"), [(1.0, {}), (0.6, {}), (1.5, {"top_k": 5}), (1.0, {"top_p": 0.8}), (1.3, {"min_p": 0.1})]
)
def test_draws_have_the_frequencies_of_the_truncated_softmax(temperature: float, own: dict[str, float]) -> None:
    """Chi-square over 20000 draws, half by key and half by place: both must stir the noise."""
    n = 10000
    logits = np.random.default_rng(2).normal(0, 1.5, 24).astype(np.float32)
    wide, enabled = jnp.broadcast_to(logits, (n, 24)), Enabled(5, True, True)
    one, many = jnp.broadcast_to(keys(1), (n,)), jnp.arange(n)
    by_place = drawn(wide, settings(n, temperature, **own), enabled, one, many)[0]
    by_key = drawn(wide, settings(n, temperature, **own), enabled, keys(n, 3), jnp.full(n, 9))[0]
    warm = logits / temperature
    kept = sorted(candidates(warm, int(own.get("top_k", 0)), own.get("top_p", 1.0), own.get("min_p", 0.0)))
    share = np.exp(warm[kept].astype(np.float64))
    share /= share.sum()
    for tokens in (by_place, by_key):
        seen = np.bincount(np.asarray(tokens), minlength=24)
        assert seen[kept].sum() == n
        assert stats.chisquare(seen[kept], share * n).pvalue > 1e-3


def test_noise_is_gumbel_and_fresh_for_every_key_place_and_token() -> None:
    noise = np.asarray(gumbel(keys(64), jnp.arange(64), 512))
    assert stats.kstest(noise.ravel(), "gumbel_r").pvalue > 1e-3
    assert len(np.unique(noise)) > 0.99 * noise.size
    along = np.corrcoef(np.concatenate([noise[:, :-1].ravel()]), noise[:, 1:].ravel())[0, 1]
    across = np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]
    assert abs(along) < 0.03 and abs(across) < 0.03
    np.testing.assert_array_equal(gumbel(keys(64)[5:6], jnp.array([5]), 512)[0], noise[5])


def test_log_probabilities_are_of_the_whole_distribution_at_temperature_one() -> None:
    logits = jnp.asarray(np.random.default_rng(3).normal(0, 3, (16, V)), jnp.float32)
    tokens, logp = drawn(logits, settings(16, 0.3, 4, 0.7), Enabled(4, True), keys(16), jnp.arange(16))
    plain = jax.nn.log_softmax(logits)[jnp.arange(16), tokens]
    np.testing.assert_allclose(logp, plain, atol=1e-5)


def test_temperature_zero_takes_the_first_of_the_best() -> None:
    logits = np.random.default_rng(4).integers(-3, 4, (32, V)).astype(np.float32)  # many ties
    tokens = drawn(jnp.asarray(logits), settings(32, 0.0, 3, 0.5), Enabled(3, True), keys(32), jnp.arange(32))[0]
    np.testing.assert_array_equal(tokens, logits.argmax(-1))
    np.testing.assert_array_equal(highest(jnp.asarray(logits)), logits.argmax(-1))


def test_greedy_rows_alone_need_no_chance_and_get_the_same_bits() -> None:
    logits = jnp.asarray(np.random.default_rng(2).normal(0, 3, (16, V)), jnp.float32)
    own = settings(16, temperature=0.0)
    one, two = (drawn(logits, own, Enabled(chance=chance), keys(16), jnp.arange(16)) for chance in (True, False))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
