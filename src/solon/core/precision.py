"""Which number type matrices compute in on this machine: decided once by what the hardware is, not by a timing."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from solon.core.errors import ConfigError


@cache
def processor() -> frozenset[str]:
    """What the processor says of itself in Linux's words; nothing elsewhere."""
    try:
        return frozenset(Path("/proc/cpuinfo").read_text().split())
    except OSError:  # not Linux
        return frozenset()


@cache
def fast_dtype(work: str) -> str:
    """`bfloat16` where the device is faster with it, else `float32`. `work` is `training` (large products), `batches`
    (dozens of rows sampled at once) or `sampling` (also few rows or one: without a matrix unit the conversions then cost
    more than they save, docs/design/004)."""
    import jax

    if jax.default_backend() != "cpu":
        return "bfloat16"
    flags = processor()
    helps = {"amx_bf16"} if work == "sampling" else {"amx_bf16", "avx512_bf16"}
    return "bfloat16" if helps & flags else "float32"


def dtype_of(choice: str, work: str) -> Any:
    """`auto`, `bfloat16` or `float32` as a JAX type."""
    import jax.numpy as jnp

    if choice not in ("auto", "bfloat16", "float32"):
        raise ConfigError("unknown precision", got=choice, expected="auto, bfloat16 or float32")
    return jnp.dtype(fast_dtype(work) if choice == "auto" else choice)
