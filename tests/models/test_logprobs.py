"""Chunked log-probabilities against plain log-softmax and autodiff."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.models import logprobs
from solon.models.architecture import Architecture
from solon.models.logprobs import token_logprobs

WIDTH, VOCAB, COUNT = 12, 37, 21


def architecture(cap: float, tied: bool) -> Architecture:
    return Architecture("x", 1, WIDTH, 2, 1, 6, 8, VOCAB, 32, tied=tied, final_softcap=cap)


def plain(arch: Architecture, params: dict[str, jax.Array], h: jax.Array, targets: jax.Array) -> jax.Array:
    scores = h @ (params["embed"].T if arch.tied else params["unembed"])
    if arch.final_softcap:
        scores = jnp.tanh(scores / arch.final_softcap) * arch.final_softcap
    return jnp.take_along_axis(jax.nn.log_softmax(scores), targets[:, None], -1)[:, 0]


def example(tied: bool) -> tuple[dict[str, jax.Array], jax.Array, jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    table = {"embed": rng.normal(size=(VOCAB, WIDTH))} if tied else {"unembed": rng.normal(size=(WIDTH, VOCAB))}
    params = {name: jnp.asarray(x, jnp.float32) for name, x in table.items()}
    params.setdefault("embed", jnp.zeros((VOCAB, WIDTH)))
    h, g = (jnp.asarray(x, jnp.float32) for x in (rng.normal(size=(COUNT, WIDTH)), rng.normal(size=COUNT)))
    return params, h, jnp.asarray(rng.integers(0, VOCAB, COUNT)), g


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("cap", [0.0, 2.5])
def test_values_and_gradients_equal_autodiff(cap: float, tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "CHUNK", 8)  # three chunks, the last not full
    arch = architecture(cap, tied)
    params, h, targets, g = example(tied)

    def graded(of: object) -> tuple[jax.Array, tuple[dict[str, jax.Array], jax.Array]]:
        # Not linear in the log-probabilities, as in every preference objective.
        fn = lambda p, h: jnp.sum(jnp.sin(of(arch, p, h, targets)) * g)  # type: ignore[operator]  # noqa: E731
        return jax.jit(jax.value_and_grad(fn, (0, 1)))(params, h)

    np.testing.assert_allclose(token_logprobs(arch, params, h, targets), plain(arch, params, h, targets), atol=1e-5)
    (value, grads), (want, want_grads) = graded(token_logprobs), graded(plain)
    np.testing.assert_allclose(value, want, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), grads, want_grads)


def test_bf16_tables_stay_near() -> None:
    arch = architecture(0.0, True)
    params, h, targets, _ = example(True)
    low = {"embed": params["embed"].astype(jnp.bfloat16)}
    same = {"embed": low["embed"].astype(jnp.float32)}
    np.testing.assert_allclose(token_logprobs(arch, low, h, targets), plain(arch, same, h, targets), atol=0.05)
    got = jax.grad(lambda h: token_logprobs(arch, low, h, targets).sum())(h)
    want = jax.grad(lambda h: plain(arch, same, h, targets).sum())(h)
    np.testing.assert_allclose(got, want, atol=0.05)


def test_large_logits_do_not_overflow() -> None:
    arch = architecture(0.0, True)
    params, h, targets, _ = example(True)
    out = token_logprobs(arch, params, h * 1e4, targets)
    assert bool(jnp.isfinite(out).all())
    assert float(out.max()) <= 0
