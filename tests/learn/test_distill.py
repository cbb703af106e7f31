"""Distillation against its closed form, and merging into a quantised base, whose cost is the same divergence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from solon.core.dense import merge
from solon.core.errors import ConfigError, ModelError
from solon.core.quantise import EVERYTHING, Int4, quantise
from solon.core.weights import abstract
from solon.learn import lora
from solon.learn.merging import base_form, cost, merge_quantised
from solon.learn.objectives import distill
from solon.models.architecture import Architecture, spec
from solon.models.block import forward
from solon.text.batches import batch as pack
from solon.text.batches import shape_of
from solon.text.template import Tokens as Row

STUDENT = Architecture("llama", layers=1, embed=16, heads=4, kv_heads=2, head_dim=4, mlp=24, vocab=31, context=64)
TEACHER = Architecture(
    "gemma", layers=2, embed=24, heads=2, kv_heads=1, head_dim=8, mlp=40, vocab=31, context=64, tied=False, final_softcap=5.0
)  # fmt: skip
ROWS = [Row(np.random.default_rng(i).integers(0, 31, n).tolist(), [False] * m + [True] * (n - m)) for i, (n, m) in enumerate([(9, 3), (7, 2)])]
BATCH = pack(ROWS, shape_of([ROWS], 9))


def noise(arch: Architecture, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.3, s.shape), jnp.float32), abstract(spec(arch), arch.sizes))


PARAMS, WISE = noise(STUDENT, 1), noise(TEACHER, 2)
taught_by = jax.jit(distill.taught, static_argnums=0)
TAUGHT = taught_by(TEACHER, WISE, BATCH)


logits_of = jax.jit(lambda arch, params, tokens: forward(arch, params, tokens)[0], static_argnums=0)


def log_p(arch: Architecture, params: Any, row: Row, temperature: float = 1.0) -> jax.Array:
    """Of the tokens that are learned, the plain way."""
    out = jax.nn.log_softmax(logits_of(arch, params, jnp.asarray([row.ids]))[0] / temperature)
    return out[jnp.array([i - 1 for i in range(1, len(row.ids)) if row.learn[i]])]


def plain_kl(params: Any, temperature: float) -> jax.Array:
    total = jnp.float32(0)
    for row in ROWS:
        theirs, ours = log_p(TEACHER, WISE, row, temperature), log_p(STUDENT, params, row, temperature)
        total += jnp.sum(jnp.exp(theirs) * (theirs - ours))
    return total


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_it_equals_the_closed_form_with_its_gradient(temperature: float) -> None:
    graded = jax.jit(jax.value_and_grad(lambda p: distill.loss(STUDENT, p, TAUGHT, TEACHER, temperature), has_aux=True))
    (value, (items, metrics)), grads = graded(PARAMS)
    want, want_grads = jax.jit(jax.value_and_grad(lambda p: temperature**2 * plain_kl(p, temperature)))(PARAMS)
    assert float(items) == 11
    np.testing.assert_allclose([value, metrics["kl"] * temperature**2], [want, want], rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * float(jnp.abs(b).max())), grads, want_grads)


def test_hard_labels_are_mixed_in() -> None:
    value = float(jax.jit(lambda p: distill.loss(STUDENT, p, TAUGHT, TEACHER, 2.0, hard=0.25)[0])(PARAMS))
    soft = 4 * float(plain_kl(PARAMS, 2.0))
    hard = 0.0
    for row in ROWS:
        logp = log_p(STUDENT, PARAMS, row)
        targets = [row.ids[i] for i in range(1, len(row.ids)) if row.learn[i]]
        hard -= float(logp[jnp.arange(len(targets)), jnp.array(targets)].sum())
    np.testing.assert_allclose(value, 0.75 * soft + 0.25 * hard, rtol=1e-4)


def test_a_student_that_is_the_teacher_has_nothing_to_learn() -> None:
    same = taught_by(STUDENT, PARAMS, BATCH)
    graded = jax.jit(jax.value_and_grad(lambda p: distill.loss(STUDENT, p, same, STUDENT)[0]))
    value, grads = graded(PARAMS)
    moving = graded(noise(STUDENT, 5))[1]
    assert abs(float(value)) < 1e-5
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads)) < 1e-5 * max(float(jnp.abs(g).max()) for g in jax.tree.leaves(moving))


def test_a_smaller_student_comes_nearer() -> None:
    optimise = optax.adam(0.02)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        value, grads = jax.value_and_grad(lambda p: distill.loss(STUDENT, p, TAUGHT, TEACHER)[0])(params)
        updates, state = optimise.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    params, state, losses = PARAMS, optimise.init(PARAMS), []
    for _ in range(15):
        params, state, value = step(params, state)
        losses.append(float(value))
    assert losses[-1] < 0.5 * losses[0]


def test_whole_logits_are_never_held() -> None:
    """Of 1200 places no array has more rows than a chunk where it has the vocabulary's width, backward pass included."""
    arch = replace(STUDENT, vocab=1999)
    table = jax.ShapeDtypeStruct((16, 1999), jnp.float32)
    h = jax.ShapeDtypeStruct((1200, 16), jnp.float32)
    score = lambda h, t, g, u: jnp.sum(distill.divergence(arch, t, h, arch, u, g))  # noqa: E731
    shapes = all_shapes(jax.make_jaxpr(jax.grad(score, (0, 1)))(h, table, h, table).jaxpr)
    wide = {shape for shape in shapes if 1999 in shape}
    assert (512, 1999) in wide
    assert max(int(np.prod(shape)) for shape in wide) == 512 * 1999


def all_shapes(jaxpr: Any) -> set[tuple[int, ...]]:
    out: set[tuple[int, ...]] = set()
    for eqn in jaxpr.eqns:
        out |= {v.aval.shape for v in (*eqn.outvars, *eqn.invars) if hasattr(v.aval, "shape")}
        for value in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            if hasattr(value, "jaxpr") or hasattr(value, "eqns"):
                out |= all_shapes(getattr(value, "jaxpr", value))
    return out


def test_other_vocabularies_are_refused() -> None:
    with pytest.raises(ConfigError, match="different vocabularies"):
        distill.divergence(replace(STUDENT, vocab=30), None, TAUGHT.hidden_nd, TEACHER, None, TAUGHT.hidden_nd)


# ---- merging into a quantised base

TOKENS = np.random.default_rng(3).integers(0, 31, (5, 12), dtype=np.int32)


def trained(base: Any, size: float) -> Any:
    params = lora.attach(STUDENT, base, rank=2, alpha=4.0, seed=0)
    rng = np.random.default_rng(4)
    return lora.put(params, jax.tree.map(lambda x: jnp.asarray(rng.normal(0, size, x.shape), jnp.float32), lora.adapter(params)))


@pytest.mark.slow
def test_the_cost_of_merging_is_the_divergence_of_whole_logits() -> None:
    base = quantise(spec(STUDENT), PARAMS, "int4")
    params = trained(base, 0.2)
    after, paid = merge_quantised(STUDENT, params, TOKENS, limit=None)
    assert base_form(params) == base_form(after) == "int4" and isinstance(after["blocks"]["q"], Int4)
    theirs, ours = (jax.nn.log_softmax(logits_of(STUDENT, p, TOKENS)) for p in (params, after))
    kl = np.asarray(jnp.sum(jnp.exp(theirs) * (theirs - ours), -1))
    np.testing.assert_allclose(paid.kl, kl.mean(), rtol=1e-3)
    half = 1.96 * kl.mean(1).std(ddof=1) / 5**0.5
    np.testing.assert_allclose(paid.high, kl.mean() + half, rtol=1e-3)
    assert paid.n == 60 and paid.same == pytest.approx(float((theirs.argmax(-1) == ours.argmax(-1)).mean()), abs=1e-6)
    assert 0 < cost(STUDENT, params, merge(params), TOKENS).kl + 1e-6 < paid.kl


def test_a_dear_merge_is_refused_unless_told() -> None:
    params = trained(quantise(spec(STUDENT), PARAMS, "int4"), 0.3)
    with pytest.raises(ModelError, match=r"changes the model too much(.|\n)*nats a token \[(.|\n)*at most 1e-05"):
        merge_quantised(STUDENT, params, TOKENS, limit=1e-5)
    assert merge_quantised(STUDENT, params, TOKENS, limit=None)[1].kl > 1e-5


def test_eight_bits_cost_less_than_four_and_a_plain_base_has_to_say_its_kind() -> None:
    params = trained(PARAMS, 0.1)
    paid = {kind: merge_quantised(STUDENT, params, TOKENS, kind=kind, limit=None, where=EVERYTHING)[1].kl for kind in ("int8", "int4")}
    assert 0 < paid["int8"] < paid["int4"]
    with pytest.raises(ModelError, match="the base is not quantised"):
        merge_quantised(STUDENT, params, TOKENS)
    assert base_form(params) is None
    blocks = {**params["blocks"], "q": quantise(spec(STUDENT), params, "int4")["blocks"]["q"]}
    with pytest.raises(ModelError, match="(?s)not quantised in one way.*int4 and int8"):
        merge_quantised(STUDENT, {**quantise(spec(STUDENT), params, "int8"), "blocks": blocks | {"k": quantise(spec(STUDENT), params, "int8")["blocks"]["k"]}}, TOKENS)
