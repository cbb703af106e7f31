"""Group relative policy optimisation against its paper, token by token, and the properties that make it what it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.core.errors import DataError
from solon.core.weights import abstract
from solon.learn.objectives.grpo import Rollouts, Terms, advantages, k3, loss, of_logprobs
from solon.models.architecture import Architecture, spec
from solon.models.logprobs import scored
from solon.text.batches import Shape, batch
from solon.text.template import Tokens

ARCH = Architecture("llama", layers=2, embed=16, heads=4, kv_heads=2, head_dim=4, mlp=24, vocab=31, context=64)
SHAPE = Shape(lines=3, length=12, scored=32, rows=6)
SIZES = [(7, 3), (5, 1), (9, 4), (4, 2)]  # tokens, and those of the prompt
REPLIES = [n - m for n, m in SIZES]
ROWS = [Tokens(np.random.default_rng(i).integers(0, 31, n).tolist(), [False] * m + [True] * (n - m)) for i, (n, m) in enumerate(SIZES)]
GAINS = np.array([1.3, -0.8, 0.4, -0.9], np.float32)


def beside(rows: Any, values: list[np.ndarray]) -> np.ndarray:
    """One array a row as they lie in the batch; far from any log-probability at filling."""
    out = np.full(rows.weight_n.shape, -300.0, np.float32)
    for number, one in enumerate(values):
        out[(rows.sequence_n == number) & (rows.weight_n > 0)] = one
    return out


def drawn(seed: int, near: list[np.ndarray] | None = None) -> list[np.ndarray]:
    """Log-probabilities for each reply, by themselves or around others."""
    rng = np.random.default_rng(seed)
    around = near or [np.full(n, -2.0) for n in REPLIES]
    return [(one + rng.normal(0, 0.3, len(one))).astype(np.float32) for one in around]


NOW = drawn(1)
OLD, SAMPLED, REFERENCE = drawn(2, NOW), drawn(3, NOW), drawn(4, NOW)


def rollouts(gains: np.ndarray = GAINS, old: Any = OLD, rows: list[int] | None = None) -> Rollouts:
    here = list(range(len(ROWS))) if rows is None else rows
    packed = batch([ROWS[i] for i in here], SHAPE)
    given = [beside(packed, [one[i] for i in here]) if one else None for one in (SAMPLED, old, REFERENCE)]
    return Rollouts(packed, np.pad(gains[here], (0, SHAPE.rows - len(here))), *given)


def by_hand(terms: Terms, old: list[np.ndarray] | None) -> float:
    """Equation 3 of the paper (with the averages of the others), one token after the other."""
    each = []
    for gain, logp, before, sampled, reference in zip(GAINS, NOW, old or NOW, SAMPLED, REFERENCE, strict=True):
        losses = []
        for t in range(len(logp)):
            ratio = np.exp(logp[t] - before[t])
            one = -min(ratio * gain, min(max(ratio, 1 - terms.low), 1 + terms.high) * gain)
            if terms.cap:
                one *= min(np.exp(before[t] - sampled[t]), terms.cap)
            kl = np.exp(reference[t] - logp[t]) - (reference[t] - logp[t]) - 1
            losses.append(one + terms.beta * kl * (ratio if terms.weigh_kl else 1))
        each.append(losses)
    if terms.normalise == "dapo":
        return sum(map(sum, each)) / sum(map(len, each))
    if terms.normalise == "grpo":
        return sum(sum(one) / len(one) for one in each) / len(each)
    return sum(map(sum, each)) / (len(each) * terms.limit)


CASES = [
    Terms(),
    Terms(normalise="grpo", beta=0.04),
    Terms(normalise="grpo", beta=0.04, weigh_kl=False),
    Terms(normalise="dr_grpo", limit=9, high=0.05),
    Terms(low=0.01, high=0.02, beta=0.3, cap=1.1),
]


@pytest.mark.parametrize("old", [OLD, None], ids=["later", "first"])
@pytest.mark.parametrize("terms", CASES, ids=str)
def test_the_loss_is_the_closed_form(terms: Terms, old: Any) -> None:
    given = rollouts(old=old)
    value, (items, _) = of_logprobs(jnp.asarray(beside(given.rows, NOW)), given, terms)
    np.testing.assert_allclose(float(value) / float(items), by_hand(terms, old), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("terms", CASES, ids=str)
def test_cutting_a_batch_changes_nothing(terms: Terms) -> None:
    """The trainer adds sums and items of micro-batches: a mean over tokens or replies of the whole step comes out."""
    parts = [of_logprobs(jnp.asarray(beside(one.rows, [NOW[i] for i in rows])), one, terms) for rows in ([0, 2], [1], [3])
             for one in [rollouts(rows=rows)]]  # fmt: skip
    whole = of_logprobs(jnp.asarray(beside(rollouts().rows, NOW)), rollouts(), terms)
    together = jax.tree.map(lambda *xs: sum(xs), *parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), whole, together)


@pytest.mark.parametrize("normalise", ["dapo", "grpo", "dr_grpo"])
def test_a_reply_of_weight_two_counts_as_two(normalise: Any) -> None:
    terms = Terms(normalise=normalise, limit=9, beta=0.1)
    doubled = rollouts(rows=[0, 1, 1])
    once = rollouts(rows=[0, 1])
    heavy = once._replace(rows=once.rows._replace(weight_n=once.rows.weight_n * np.where(once.rows.sequence_n == 1, 2, 1).astype("f")))
    one, two = (of_logprobs(jnp.asarray(beside(x.rows, [NOW[i] for i in rows])), x, terms) for x, rows in ((heavy, [0, 1]), (doubled, [0, 1, 1])))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, two)


def test_the_metrics_are_means_over_tokens() -> None:
    given, terms = rollouts(), Terms(beta=0.1, cap=1.1)
    _, (items, sums) = of_logprobs(jnp.asarray(beside(given.rows, NOW)), given, terms)
    logp, old, sampled, reference = (np.concatenate(one) for one in (NOW, OLD, SAMPLED, REFERENCE))
    gain, ratio = np.repeat(GAINS, REPLIES), np.exp(logp - old)
    apart = reference - logp
    expected = {
        "ratio": ratio.mean(), "clipped": np.mean(((ratio < 0.8) & (gain < 0)) | ((ratio > 1.2) & (gain > 0))),
        "sampler_gap": np.abs(logp - sampled).mean(), "capped": np.mean(np.exp(old - sampled) > 1.1),
        "kl": np.mean(np.exp(apart) - apart - 1),
    }  # fmt: skip
    assert 0 < expected["clipped"] < 1 and 0 < expected["capped"] < 1
    assert sums.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(float(sums[name]) / float(items), value, rtol=1e-4, err_msg=name)


def slopes(terms: Terms, given: Rollouts, now: Any = NOW) -> np.ndarray:
    """The derivative of the mean loss by each scored log-probability."""
    value = lambda logp: (lambda out: out[0] / out[1][0])(of_logprobs(logp, given, terms))  # noqa: E731
    return np.asarray(jax.grad(value)(jnp.asarray(beside(given.rows, now))))


def test_the_first_update_is_the_policy_gradient() -> None:
    """With the ratio at 1, the gradient is that of -A log p, and nothing is clipped."""
    for old in (None, NOW):
        given = rollouts(old=old)
        expected = -GAINS[given.rows.sequence_n] * given.rows.weight_n / sum(REPLIES)
        np.testing.assert_allclose(slopes(Terms(), given), expected, rtol=1e-6)
        _, (items, sums) = of_logprobs(jnp.asarray(beside(given.rows, NOW)), given, Terms())
        assert (float(sums["ratio"] / items), float(sums["clipped"])) == (1.0, 0.0)


def test_clipping_kills_the_gradient_outside_the_range_and_only_there() -> None:
    """Beyond 1 + high what is good is not pushed further, below 1 - low what is bad; the other way round both are."""
    away = [one - np.float32(shift) for one, shift in zip(NOW, (0.5, -0.5, -0.5, 0.5), strict=True)]
    got = slopes(Terms(), rollouts(old=away))  # ratios e^0.5, e^-0.5, e^-0.5, e^0.5; advantages +, -, +, -
    rows = rollouts().rows
    dead = np.isin(rows.sequence_n, (0, 1)) | (rows.weight_n == 0)
    assert (got[dead] == 0).all() and (got[~dead] != 0).all()
    ratio = np.exp(np.where(rows.sequence_n == 2, -0.5, 0.5))
    expected = -GAINS[rows.sequence_n] * ratio / sum(REPLIES)
    np.testing.assert_allclose(got[~dead], expected[~dead], rtol=1e-5)
    assert (slopes(Terms(high=0.7, low=0.45), rollouts(old=away))[rows.weight_n > 0] != 0).all()


def test_advantages_are_the_rewards_of_a_group_made_alike() -> None:
    rng = np.random.default_rng(0)
    rewards = rng.normal(3, 2, (50, 7)) * rng.uniform(0.1, 20, (50, 1))
    got = advantages(rewards)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.sum(1), 0, atol=2e-6)
    np.testing.assert_allclose(got.std(1, ddof=1), 1, rtol=1e-3)
    np.testing.assert_array_equal(got.argsort(1), rewards.argsort(1))
    np.testing.assert_allclose(advantages(5 * rewards - 2), got, rtol=1e-2, atol=1e-4)  # TINY is all that tells them apart
    np.testing.assert_allclose(advantages(rewards, "none"), rewards - rewards.mean(1, keepdims=True), rtol=1e-4, atol=1e-5)
    by_batch = (rewards - rewards.mean(1, keepdims=True)) / (rewards.std(ddof=1) + 1e-4)
    np.testing.assert_allclose(advantages(rewards, "batch"), by_batch, rtol=1e-4, atol=1e-6)


def test_equal_rewards_teach_nothing() -> None:
    for value in (0.0, 0.1, -7.3, 1e6 / 3):
        gains = advantages(np.full((2, 3), value))
        assert (gains == 0).all()
    assert (slopes(Terms(), rollouts(np.zeros(4, np.float32))) == 0).all()


@pytest.mark.parametrize("rewards", [np.array([[1.0], [2.0]]), np.array([1.0, 2.0]), np.array([[1.0, np.nan]])], ids=["one", "flat", "nan"])
def test_rewards_that_are_no_groups_of_numbers_are_refused(rewards: np.ndarray) -> None:
    with pytest.raises(DataError, match="groups|not a number"):
        advantages(rewards)


LOGITS, OTHERS = jnp.asarray(np.random.default_rng(7).normal(0, 1.5, (2, 40)), jnp.float32)


def exact_kl(logits: jax.Array) -> jax.Array:
    logp, reference = jax.nn.log_softmax(logits), jax.nn.log_softmax(OTHERS)
    return jnp.sum(jnp.exp(logp) * (logp - reference))


def test_k3_is_never_negative_and_without_bias() -> None:
    logp, reference = jax.nn.log_softmax(LOGITS), jax.nn.log_softmax(OTHERS)
    each = k3(logp, reference)
    assert (np.asarray(each) >= 0).all() and (np.asarray(k3(logp, logp)) == 0).all()
    np.testing.assert_allclose(jnp.sum(jnp.exp(logp) * each), exact_kl(LOGITS), rtol=1e-5)


def test_the_weighed_kl_has_the_gradient_of_the_kl() -> None:
    """Over all tokens that the policy may draw: the ratio makes it exact, and without it another gradient comes out."""
    here, reference = jax.lax.stop_gradient(jax.nn.log_softmax(LOGITS)), jax.nn.log_softmax(OTHERS)

    def expected(logits: jax.Array, weigh: bool) -> jax.Array:
        logp = jax.nn.log_softmax(logits)
        return jnp.sum(jnp.exp(here) * k3(logp, reference) * (jnp.exp(logp - here) if weigh else 1.0))

    exact = jax.grad(exact_kl)(LOGITS)
    np.testing.assert_allclose(jax.grad(lambda x: expected(x, True))(LOGITS), exact, atol=1e-6)
    assert float(jnp.abs(jax.grad(lambda x: expected(x, False))(LOGITS) - exact).max()) > 0.01


def test_the_loss_reads_the_models_own_log_probabilities() -> None:
    rng = np.random.default_rng(4)
    shapes = abstract(spec(ARCH), ARCH.sizes, jnp.float32)
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.3, s.shape), s.dtype), shapes)
    given, terms = rollouts(), Terms(beta=0.1)
    near = given._replace(old_n=np.asarray(scored(ARCH, params, given.rows)) + 0.05)
    (value, (items, _)), grads = jax.jit(jax.value_and_grad(lambda p: loss(ARCH, p, near, terms), has_aux=True))(params)
    plain, (count, _) = of_logprobs(scored(ARCH, params, given.rows), near, terms)
    np.testing.assert_allclose(value, plain, rtol=1e-4)
    assert float(items) == float(count) == sum(REPLIES)
    assert all(np.isfinite(np.asarray(g)).all() for g in jax.tree.leaves(grads))
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads)) > 1e-3


def test_filling_counts_for_nothing() -> None:
    """Whatever stands at places that are not scored: numbers of which the exponential is infinite, and the same loss."""
    given = rollouts()
    filling = given.rows.weight_n == 0
    assert filling.any()
    wild = given._replace(reference_n=np.where(filling, 400, given.reference_n).astype(np.float32))
    logp = beside(given.rows, NOW)
    terms = replace(Terms(), beta=0.1)
    outs = [of_logprobs(jnp.asarray(np.where(filling, x, logp)), one, terms) for x in (-300, 300) for one in (given, wild)]
    jax.tree.map(lambda *xs: np.testing.assert_array_equal(xs, [xs[0]] * 4), *outs)
    assert np.isfinite(float(outs[0][0]))
