"""One row times a matrix in 4 bits by a kernel of our own, where XLA's loops are far from what memory gives.

`kernels.cc` is built by the C++ compiler of the machine that runs it (a few seconds, once) and kept in
`~/.cache/solon/kernels`, one folder for each kind of processor. Without a compiler, outside Linux on x86 with AVX2 (not tried), or
with `SOLON_KERNELS=off` there is no kernel and everything computes as it would without this file.
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
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from solon.core.adapters import DoRA
from solon.core.compiled import OFF, own_folder
from solon.core.dense import F32, Adapter, Axes, Leaf, Place, innermost, is_adapter, is_leaf
from solon.core.quantise import BLOCK, LEVELS, Int4
from solon.core.weights import Tree

SOURCE = Path(__file__).with_suffix(".cc")
NAME = "solon_int4_row"
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-w")
PATIENCE = 120  # seconds that a compiler may take


@cache
def ready() -> bool:
    """Is the kernel there? Builds it where it can be built; never raises."""
    off = os.environ.get("SOLON_KERNELS", "").lower() in OFF
    if off or sys.platform != "linux" or platform.machine() != "x86_64" or jax.default_backend() != "cpu":
        return False
    for _ in range(2):  # a library that a crash damaged is built again
        library = build()
        if library is None:
            return False
        try:
            handler = getattr(ctypes.CDLL(str(library)), NAME)
            jax.ffi.register_ffi_target(NAME, jax.ffi.pycapsule(handler), platform="cpu")
            return True
        except (OSError, AttributeError):
            with suppress(OSError):
                library.unlink()
    return False


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
