"""Kernels of our own, where XLA's programs are far from what the machine gives: one row times a matrix in 4 bits, a few dozen rows
times one in bf16, and attention of one new token a row over bf16 keys and values.

`kernels.cc` is built by the C++ compiler of the machine that runs it (a few seconds, once) and kept in
`~/.cache/solon/kernels`, one folder for each kind of processor. Without a compiler, outside Linux on x86 with AVX2 (not tried), or
with `SOLON_KERNELS=off` there is none and everything computes as it would without this file.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.adapters import DoRA
from solon.core.compiled import OFF, own_folder
from solon.core.dense import F32, Adapter, Axes, Leaf, Place, innermost, is_adapter, is_leaf
from solon.core.precision import processor
from solon.core.quantise import BLOCK, LEVELS, Int4
from solon.core.weights import Tree, Weight, rewrite

SOURCE = Path(__file__).with_suffix(".cc")
NAME = "solon_int4_row"
MANY = "solon_bf16_rows"
ATTEND = "solon_attend"
NAMES = (NAME, MANY, ATTEND)
WIDE = 32  # outputs of one panel, tokens of one block
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-w")
PATIENCE = 120  # seconds that a compiler may take


class Shared(NamedTuple):
    """What all slots have seen before their own tokens: keys `[k B h/2 32 2]` and values `[k B 16 h 2]`, of which the first `length`
    tokens count."""

    keys: jax.Array
    values: jax.Array
    length: jax.Array


@cache
def ready(name: str = NAME) -> bool:
    """Is the kernel there? Builds it where it can be built; never raises.

    Those for bf16 want AVX-512's products of bf16. For matrices XLA has something better where there are tiles (AMX); for attention it
    has not.
    """
    off = os.environ.get("SOLON_KERNELS", "").lower() in OFF
    if off or sys.platform != "linux" or platform.machine() != "x86_64" or jax.default_backend() != "cpu":
        return False
    if name in (MANY, ATTEND) and "avx512_bf16" not in processor():
        return False
    if name == MANY and "amx_bf16" in processor():
        return False
    for _ in range(2):  # a library that a crash damaged is built again
        library = build()
        if library is None:
            return False
        try:
            handler = getattr(ctypes.CDLL(str(library)), name, None)
        except OSError:
            with suppress(OSError):
                library.unlink()
            continue
        if handler is None:  # the compiler did not know this processor's products
            return False
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler), platform="cpu")
        return True
    return False


def reads_rows(dtype: Any) -> bool:
    """Does a kernel multiply several rows by matrices of this type?"""
    return dtype == jnp.bfloat16 and ready(MANY)


def build(flags: Sequence[str] = FLAGS, root: Path | None = None) -> Path | None:
    """The library under `root`, built if it is not there; None where that cannot be done. Its name says what it was built
    from: the source, the flags, JAX's version, and the folder says for which processor."""
    try:
        compiler = shlex.split(os.environ.get("CXX") or next(filter(None, map(shutil.which, COMPILERS)), ""))
        named = hashlib.sha256("\n".join([SOURCE.read_text(), *flags, jax.__version__]).encode()).hexdigest()[:16]
        folder = own_folder(root or Path.home() / ".cache" / "solon" / "kernels")
        if folder is None:
            return None
        library = folder / f"{named}.so"
        if library.exists():
            return library
        if not compiler:
            return None
        with tempfile.TemporaryDirectory(dir=folder) as place:
            made = Path(place) / library.name
            command = [*compiler, *flags, "-I", jax.ffi.include_dir(), str(SOURCE), "-o", str(made)]
            subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
            with made.open("rb") as written:
                os.fsync(written.fileno())
            os.replace(made, library)  # whole or not at all, also with two processes at it
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError):
        return None
    return library


def attends(dtype: Any) -> bool:
    """Does a kernel read keys and values of this type?"""
    return dtype == jnp.bfloat16 and ready(ATTEND)


def attended(
    q: jax.Array, k: jax.Array, v: jax.Array, keys: jax.Array, values: jax.Array, place: jax.Array, shared: Shared, window: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One new token a slot against what it has seen: `q [S k g h]` -> the same shape, float32, and the pages with the new key and
    value `[S k h]` at `place [S]`.

    `keys` `[S k B h/2 32 2]` and `values` `[S k B 16 h 2]` hold the bits of bf16 numbers (`key_blocks`, `value_blocks`) and are
    written where they lie. `window` is how far back is seen, 0 all the way. Queries and weights are rounded to bf16 as in training.
    """
    made = jax.ShapeDtypeStruct(q.shape, F32), *(jax.ShapeDtypeStruct(x.shape, jnp.uint16) for x in (keys, values))
    call = jax.ffi.ffi_call(ATTEND, made, input_output_aliases={3: 1, 4: 2})
    given = (q.astype(F32), k.astype(F32), v.astype(F32), keys, values, place.astype(jnp.int32), shared.keys, shared.values)
    out, keys, values = call(*given, shared.length.reshape(1).astype(jnp.int32), window=np.int64(window))
    return out, keys, values


def key_blocks(keys: jax.Array) -> jax.Array:
    """Bits of bf16 keys `[... h L]` as the kernel reads them: `[... L/32 h/2 32 2]`, uint16."""
    *lead, size, length = keys.shape
    halves = _bits(keys).reshape(*lead, size // 2, 2, length // WIDE, WIDE)
    return jnp.moveaxis(halves, (-4, -3, -2, -1), (-3, -1, -4, -2))


def value_blocks(values: jax.Array) -> jax.Array:
    """Bits of bf16 values `[... L h]` as the kernel reads them: `[... L/32 16 h 2]`, uint16."""
    *lead, length, size = values.shape
    return jnp.swapaxes(_bits(values).reshape(*lead, length // WIDE, WIDE // 2, 2, size), -1, -2)


def _bits(x: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(x.astype(jnp.bfloat16), jnp.uint16)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ByRow(Leaf):
    """A matrix in 4 bits that a kernel multiplies by one row, float32 in and out; more rows go the way of its `base`. For inference
    only: the kernel has no derivative."""

    base: Int4

    @property
    def dtype(self) -> Any:
        return self.base.dtype

    def dense(self, x: jax.Array, n_in: int) -> jax.Array:
        width = prod(self.base.shape[:n_in])
        if x.size != width or self.base.turned or self.base.codes.ndim != 3:
            return self.base.dense(x, n_in)
        blocks, _, outs = self.base.codes.shape
        row = jnp.pad(x.reshape(width).astype(F32), (0, blocks * BLOCK - width))
        call = jax.ffi.ffi_call(NAME, jax.ShapeDtypeStruct((outs,), F32))
        made = call(row, self.base.codes, self.base.largest, jnp.asarray(LEVELS))
        return made.reshape(*x.shape[: x.ndim - n_in], *self.base.shape[n_in:])

    def array(self) -> jax.Array:
        return self.base.array()

    def rows(self, ids: jax.Array) -> jax.Array:
        return self.base.rows(ids)

    def transposed(self) -> ByRow:
        return ByRow(self.base.transposed())

    def spread(self, axes: Axes, place: Place) -> ByRow:
        return ByRow(self.base.spread(axes, place))


def beside(w: Adapter) -> bool:
    """Does this adapter stay beside its base where one row is decoded? Over 4 bits: added in, it would make a whole array of
    what the kernel reads eight times as fast. DoRA is the exception, whose norm needs the unpacked base at every token."""
    if not isinstance(innermost(w), Int4):
        return False
    while is_adapter(w):
        if isinstance(w, DoRA):
            return False
        w = w.base
    return True


def by_row(tree: Tree) -> Tree:
    """The same weights with every matrix in 4 bits multiplied by the kernel, below its adapters where it has any; unchanged
    where there is none."""
    four = lambda w: isinstance(innermost(w), Int4)  # noqa: E731
    if not any(four(w) for w in jax.tree.leaves(tree, is_leaf=is_leaf)) or not ready():
        return tree

    def one(w: Any) -> Any:
        return w.over(one(w.base)) if is_adapter(w) else ByRow(w)

    return jax.tree.map(lambda w: one(w) if four(w) else w, tree, is_leaf=is_leaf)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class InPanels(Leaf):
    """A bf16 matrix `[*ins, *outs]` whose numbers lie in the order in which a kernel reads them: `panels`
    `[outs/32, ins/2, 32, 2]`, filled up with zeros. XLA brings a matrix into such an order anew for every product.

    From two rows on the result is XLA's, bit for bit, where there are at most some 2000 inputs (more it sums in parts). For
    inference only: the kernel has no derivative.
    """

    panels: jax.Array
    ins: tuple[int, ...] = field(metadata={"static": True})
    outs: tuple[int, ...] = field(metadata={"static": True})

    @classmethod
    def of(cls, array: jax.Array, n_in: int = 1) -> InPanels:
        """The same matrix in panels."""
        return cls(_panels(array, n_in), array.shape[:n_in], array.shape[n_in:])

    @property
    def dtype(self) -> Any:
        return self.panels.dtype

    def dense(self, x: jax.Array, n_in: int) -> jax.Array:
        lead, width = x.shape[: x.ndim - n_in], prod(self.ins)
        flat = x.reshape(-1, width).astype(self.dtype)
        flat = jnp.pad(flat, ((0, 0), (0, width % 2)))
        call = jax.ffi.ffi_call(MANY, jax.ShapeDtypeStruct((flat.shape[0], prod(self.outs)), F32))
        return call(flat, self.panels).reshape(*lead, *self.outs)

    def array(self) -> jax.Array:
        flat = self.panels.transpose(1, 3, 0, 2).reshape(-1, self.panels.shape[0] * WIDE)
        return flat[: prod(self.ins), : prod(self.outs)].reshape(*self.ins, *self.outs)


@partial(jax.jit, static_argnums=1)
def _panels(array: jax.Array, n_in: int) -> jax.Array:
    flat = array.reshape(prod(array.shape[:n_in]), -1)
    flat = jnp.pad(flat, [(0, -flat.shape[0] % 2), (0, -flat.shape[1] % WIDE)])
    return flat.reshape(flat.shape[0] // 2, 2, -1, WIDE).transpose(2, 0, 3, 1)


def in_panels(spec: Tree, params: Tree) -> Tree:
    """The same weights with every plain bf16 matrix that `spec` knows in panels, for where `reads_rows` says that they are read."""

    def one(_: str, w: Weight, leaf: Any) -> Any:
        plain = not is_leaf(leaf) and leaf.dtype == jnp.bfloat16
        return InPanels.of(leaf, len(w.ins)) if plain else leaf

    return rewrite(one, "", spec, params)
