"""The kernels against NumPy, and everything as before where there are none."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.core import kernels
from solon.core.compiled import machine
from solon.core.dense import dense, is_adapter, merge
from solon.core.quantise import Int4, int4, quantise
from solon.generate.engine import Engine, Request
from solon.learn import lora
from solon.models.architecture import spec
from solon.models.load import Model

RNG = np.random.default_rng(0)
GENERATIONS = {"native": "-march=native", "AVX2 without AVX-512": "-march=haswell"}
# Whole strips and what is left of them, inputs that do not fill a block, one output, and a size that two threads share.
SHAPES = ((64, 128), (128, 256), (576, 192), (100, 37), (64, 1), (30, 150), (576, 4096))


@pytest.fixture(params=GENERATIONS.values(), ids=GENERATIONS.keys())
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The kernel built for one generation of processors, under a name of its own."""
    if not kernels.ready():
        pytest.skip("no C++ compiler, or no processor that the kernel knows")
    flags = [request.param if flag.startswith("-march") else flag for flag in kernels.FLAGS]
    library = kernels.build(flags, tmp_path_factory.getbasetemp())  # once for all tests
    assert library is not None
    name = f"{kernels.NAME}_{request.param}"
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(ctypes.CDLL(str(library)), kernels.NAME)), platform="cpu")
    monkeypatch.setattr(kernels, "NAME", name)


def matrix(ins: int, outs: int) -> Int4:
    return int4(jnp.asarray(RNG.normal(size=(ins, outs)), jnp.float32), 0, 1, jnp.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_product(shape: tuple[int, int], kernel: None) -> None:
    packed = matrix(*shape)
    x = RNG.normal(size=(1, shape[0])).astype(np.float32)
    wanted = x.astype(np.float64) @ np.asarray(packed.array(), np.float64)
    program = jax.jit(lambda x, w: dense(x, w))
    got = np.asarray(program(x, kernels.ByRow(packed)))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())
    for _ in range(20):  # whoever takes which strip
        np.testing.assert_array_equal(program(x, kernels.ByRow(packed)), got)


def test_heads_and_tables_keep_their_axes(kernel: None) -> None:
    heads = int4(jnp.asarray(RNG.normal(size=(48, 4, 8)), jnp.float32), 0, 1, jnp.float32)
    x = jnp.asarray(RNG.normal(size=(1, 1, 48)), jnp.float32)
    made = dense(x, kernels.ByRow(heads))
    assert made.shape == (1, 1, 4, 8)
    np.testing.assert_allclose(made, dense(x, heads), atol=1e-4)
    back = int4(jnp.asarray(RNG.normal(size=(4, 8, 48)), jnp.float32), 0, 2, jnp.float32)
    y = jnp.asarray(RNG.normal(size=(1, 1, 4, 8)), jnp.float32)
    np.testing.assert_allclose(dense(y, kernels.ByRow(back), 2), dense(y, back, 2), atol=1e-4)
    table = int4(jnp.asarray(RNG.normal(size=(70, 48)), jnp.float32), 0, 1, jnp.float32, turned=True)
    np.testing.assert_array_equal(kernels.ByRow(table).rows(jnp.array([3, 69])), table.rows(jnp.array([3, 69])))
    np.testing.assert_allclose(dense(x, kernels.ByRow(table).transposed()), dense(x, table.transposed()), atol=1e-4)


def test_more_rows_go_the_plain_way(kernel: None) -> None:
    packed, x = matrix(64, 40), jnp.asarray(RNG.normal(size=(2, 64)), jnp.float32)
    np.testing.assert_array_equal(dense(x, kernels.ByRow(packed)), dense(x, packed))


def test_a_sampler_says_the_same_with_it_and_without(monkeypatch: pytest.MonkeyPatch, tiny_packed: Callable[[], Engine]) -> None:
    if not kernels.ready():
        pytest.skip("no kernel here")
    asked = [Request([1, 5, 9, 20], key=("one",), max_tokens=24, temperature=0.0)]
    swift = tiny_packed()
    assert any(isinstance(w, kernels.ByRow) for w in jax.tree.leaves(swift.alone, is_leaf=lambda w: isinstance(w, kernels.ByRow)))
    (first,) = swift.sample(asked)
    monkeypatch.setattr(kernels, "ready", lambda *name: False)
    plain = tiny_packed()
    assert not any(isinstance(w, kernels.ByRow) for w in jax.tree.leaves(plain.alone, is_leaf=lambda w: isinstance(w, kernels.ByRow)))
    (second,) = plain.sample(asked)
    assert first.tokens == second.tokens
    np.testing.assert_allclose(first.logprobs, second.logprobs, atol=1e-4)
    assert [reply.tokens for reply in swift.sample(asked * 2)] == [second.tokens] * 2  # several rows: unpacked, as ever


@pytest.fixture
def tiny_packed(tiny_model: Model) -> Callable[[], Engine]:
    return lambda: Engine(replace(tiny_model, params=quantise(spec(tiny_model.arch), tiny_model.params, "int4", "")))


@pytest.mark.slow
def test_a_damaged_library_is_built_again(tmp_path: Path) -> None:
    if not kernels.ready():
        pytest.skip("no kernel here")
    library = kernels.build(root=tmp_path / ".cache" / "solon" / "kernels")
    assert library is not None
    library.write_bytes(b"\x7fELF")
    code = "from solon.core.kernels import ready; assert ready()"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "HOME": str(tmp_path)})
    assert library.stat().st_size > 10_000


@pytest.mark.parametrize("compiler", ["/nowhere/c++", "/bin/false", "'"])
def test_without_a_working_compiler_there_is_none(compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", compiler)
    assert kernels.build(root=tmp_path) is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / machine()).mkdir()
    os.chmod(tmp_path / machine(), 0o777)
    assert kernels.build(root=tmp_path) is None


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLON_KERNELS", "off")
    assert kernels.ready.__wrapped__() is False
    assert kernels.by_row([1, jnp.ones(2)])[0] == 1  # nothing in 4 bits, so nothing is built


@pytest.mark.parametrize("kind", ["lora", "ia3", "dora"])
def test_an_adapter_stays_beside_what_the_kernel_reads(kind: str, tiny_model: Model) -> None:
    """Trained over 4 bits: one row reads the kernel and the adapter, several read the merged sum, and both say the same."""
    if not kernels.ready():
        pytest.skip("no kernel here")
    packed = quantise(spec(tiny_model.arch), tiny_model.params, "int4", "")
    params = lora.attach(tiny_model.arch, packed, rank=3, alpha=6.0, seed=1, kind=kind)
    noisy = jax.tree.map(lambda x: jnp.asarray(RNG.normal(0.3, 0.3, x.shape), jnp.float32), lora.adapter(params))
    params = lora.put(params, noisy)
    engine = Engine(replace(tiny_model, params=params))
    q = engine.alone["blocks"][0]["q"]
    if kind == "dora":  # its norm would unpack the base for every token
        assert isinstance(q, jax.Array)
    else:
        place = engine.alone["blocks"][0]["q" if kind == "lora" else "k"]
        assert is_adapter(place) and isinstance(place.base, kernels.ByRow)
    asked = [Request([1, 5, 9, 20], key=("one",), max_tokens=16, temperature=0.0)]
    (alone,) = engine.sample(asked)
    assert not any(map(is_adapter, jax.tree.leaves(engine.stacked, is_leaf=is_adapter)))
    (merged,) = Engine(replace(tiny_model, params=merge(params))).sample(asked)
    assert alone.tokens == merged.tokens
    np.testing.assert_allclose(alone.logprobs, merged.logprobs, atol=1e-3)


def many() -> None:
    if not kernels.ready(kernels.MANY):
        pytest.skip("no C++ compiler, or no processor that the kernel for bf16 knows")


# One tile and what is left of it, panels that are not full, an odd number of inputs, and a size that two threads share.
@pytest.mark.parametrize("rows", [1, 2, 11, 12, 13, 64])
@pytest.mark.parametrize("shape", [(64, 32), (576, 192), (100, 37), (33, 1), (576, 1536)])
def test_rows_in_panels_are_the_product(rows: int, shape: tuple[int, int]) -> None:
    many()
    w = jnp.asarray(RNG.normal(size=shape), jnp.bfloat16)
    x = RNG.normal(size=(rows, shape[0])).astype(np.float32)
    panels = kernels.InPanels.of(w)
    np.testing.assert_array_equal(panels.array(), w)
    got = np.asarray(jax.jit(lambda x, w: dense(x, w))(x, panels))
    rounded = np.asarray(jnp.asarray(x, jnp.bfloat16), np.float64)
    np.testing.assert_allclose(got, rounded @ np.asarray(w, np.float64), rtol=0, atol=2e-6 * shape[0])
    alone = np.concatenate([dense(jnp.asarray(x[i : i + 1]), panels) for i in range(rows)])
    np.testing.assert_array_equal(got, alone)  # a row does not depend on its neighbours
    if rows > 1 and shape[1] > 1:
        np.testing.assert_array_equal(got, dense(jnp.asarray(x), w))  # XLA's own product, bit for bit


def test_panels_keep_the_axes_of_heads() -> None:
    many()
    q, o = (jnp.asarray(RNG.normal(size=shape), jnp.bfloat16) for shape in ((48, 4, 8), (4, 8, 48)))
    x, y = jnp.asarray(RNG.normal(size=(3, 1, 48)), jnp.float32), jnp.asarray(RNG.normal(size=(3, 1, 4, 8)), jnp.float32)
    np.testing.assert_array_equal(kernels.InPanels.of(o, 2).array(), o)
    np.testing.assert_array_equal(dense(x, kernels.InPanels.of(q)), dense(x, q))
    np.testing.assert_array_equal(dense(y, kernels.InPanels.of(o, 2), 2), dense(y, o, 2))


def test_a_batch_says_the_same_with_panels_and_without(monkeypatch: pytest.MonkeyPatch, tiny_model: Model) -> None:
    many()
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), tiny_model.params)
    asked = [Request([1, 5, 9, 20 + i], key=("one", i), max_tokens=8 + i) for i in range(5)]
    swift = Engine(replace(tiny_model, params=low), slots=4)
    made = swift.unrolled
    assert all(isinstance(made["blocks"][0][name], kernels.InPanels) for name in ("q", "k", "v", "o", "gate", "up", "down"))
    assert isinstance(made["unembed"], kernels.InPanels) and not any(isinstance(w, kernels.InPanels) for w in swift.alone["blocks"][0].values())
    monkeypatch.setattr(kernels, "ready", lambda name: False)
    plain = Engine(replace(tiny_model, params=low), slots=4)
    assert isinstance(plain.unrolled["blocks"][0]["q"], jax.Array)
    for ours, theirs in zip(swift.sample(asked, seed=3), plain.sample(asked, seed=3), strict=True):
        assert ours.tokens == theirs.tokens
        np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-5)


# Heads that fill a vector and that do not, more query heads than are read together, a prefix of whole and of broken blocks, a window
# that cuts within the prefix, behind it, and that is one token; a size that two threads share.
ATTENTION = (
    # slots, key heads, query heads each, head size, room, room of the prefix, its tokens, window
    (5, 3, 3, 64, 96, 32, 20, 0), (4, 1, 4, 256, 64, 0, 0, 0), (3, 2, 5, 24, 64, 32, 17, 11), (2, 1, 1, 8, 32, 0, 0, 3),
    (6, 2, 6, 16, 96, 64, 50, 40), (6, 2, 2, 16, 96, 32, 32, 1), (45, 3, 3, 64, 384, 0, 0, 0),
)  # fmt: skip


@pytest.mark.parametrize("case", ATTENTION)
def test_the_kernel_attends(case: tuple[int, ...]) -> None:
    """Against NumPy in float64, the weights rounded to bf16 as in training."""
    if not kernels.attends(jnp.bfloat16):
        pytest.skip("no C++ compiler, or no processor that the kernel for bf16 knows")
    slots, heads, group, size, room, shared_room, prefix, window = case
    low = lambda *shape: jnp.asarray(RNG.normal(size=shape), jnp.bfloat16)  # noqa: E731
    q, k, v = low(slots, heads, group, size), low(slots, heads, size), low(slots, heads, size)
    keys, values = low(slots, heads, room, size), low(slots, heads, room, size)
    before = low(heads, shared_room, size), low(heads, shared_room, size)
    place = jnp.asarray([0, room - 1, *RNG.integers(0, room, slots)][:slots])
    pages = lambda k, v: (kernels.key_blocks(jnp.swapaxes(k, -1, -2)), kernels.value_blocks(v))  # noqa: E731
    shared = kernels.Shared(*pages(*before), jnp.asarray(prefix))
    program = jax.jit(lambda *given: kernels.attended(*given, shared, window))
    out, *new = program(q, k, v, *pages(keys, values), place)
    keys, values = (old.at[jnp.arange(slots), :, place].set(x) for old, x in ((keys, k), (values, v)))
    for made, wanted in zip(new, pages(keys, values), strict=True):
        np.testing.assert_array_equal(made, wanted)
    for slot in range(slots):
        for head in range(heads):
            seen = [
                np.concatenate([np.asarray(x, np.float64)[head, :prefix], np.asarray(y, np.float64)[slot, head, : place[slot] + 1]])
                for x, y in zip(before, (keys, values), strict=True)
            ]
            near, values_near = (x[-window:] if window else x for x in seen)
            scores = np.asarray(q[slot, head], np.float64) @ near.T
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights = np.asarray(jnp.asarray(weights / weights.sum(-1, keepdims=True), jnp.bfloat16), np.float64)
            # One weight on the border between two bf16 numbers may fall to the other side.
            np.testing.assert_allclose(out[slot, head], weights @ values_near, rtol=0, atol=2e-3)
            assert np.median(np.abs(out[slot, head] - weights @ values_near)) < 2e-6
    again, *_ = program(q, k, v, *pages(keys, values), place)
    np.testing.assert_array_equal(again, out)  # whoever takes which part


def test_scores_that_differ_without_bound() -> None:
    """A key that outweighs all others by hundreds takes all of the weight; none of it overflows."""
    if not kernels.attends(jnp.bfloat16):
        pytest.skip("no C++ compiler, or no processor that the kernel for bf16 knows")
    keys = jnp.zeros((1, 1, 64, 8), jnp.bfloat16).at[0, 0, 3].set(500).at[0, 0, 5].set(-500)
    values = jnp.asarray(RNG.normal(size=(1, 1, 64, 8)), jnp.bfloat16)
    none = kernels.Shared(jnp.zeros((1, 0, 4, 32, 2), jnp.uint16), jnp.zeros((1, 0, 16, 8, 2), jnp.uint16), jnp.asarray(0))
    new, lie = jnp.zeros((1, 1, 8)), (kernels.key_blocks(jnp.swapaxes(keys, -1, -2)), kernels.value_blocks(values))
    out, *_ = kernels.attended(jnp.ones((1, 1, 1, 8)), new, new, *lie, jnp.asarray([40]), none, 0)
    np.testing.assert_array_equal(out[0, 0, 0], values[0, 0, 3].astype(jnp.float32))
