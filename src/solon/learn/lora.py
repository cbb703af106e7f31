"""Low-rank adapters as leaves of the weight tree: attach, take out, put back, save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from solon.core.dense import LoRA, is_lora
from solon.core.errors import ConfigError, ModelError
from solon.core.keys import seed_of
from solon.core.weights import Tree, Weight, named, path_name, rewrite
from solon.models.architecture import LINEAR, Architecture, spec


def attach(
    arch: Architecture, params: Tree, *, rank: int, alpha: float, seed: int, dropout: float = 0.0,
    targets: Sequence[str] = LINEAR,
) -> Tree:  # fmt: skip
    """Put a fresh adapter on the given linear kinds of every layer. It changes nothing until trained: `b` is zero.

    Adapters nest: attaching to a model that already carries one freezes the inner one.
    """
    sizes = arch.sizes
    largest = min(arch.embed, arch.mlp)
    if not 1 <= rank <= largest:
        raise ConfigError("the rank of an adapter does not fit the model", got=rank, expected=f"1 to {largest}")

    def one(name: str, w: Weight, leaf: Any) -> LoRA:
        lead, ins, outs = (tuple(sizes[axis] for axis in axes) for axes in (w.stacked, w.ins, w.outs))
        fan_in = 1
        for size in ins:
            fan_in *= size
        key = jax.random.key(seed_of("lora", seed, name))
        a = jax.random.normal(key, (*lead, *ins, rank)) * fan_in**-0.5
        b = jnp.zeros((*lead, rank, *outs))
        return LoRA(leaf, a, b, scale=alpha / rank, n_in=len(ins), rate=dropout)

    where = rf"^blocks/({'|'.join(targets)})$"
    return rewrite(one, where, spec(arch), params)


def adapter(params: Tree, targets: Sequence[str] = LINEAR) -> dict[str, dict[str, jax.Array]]:
    """The trainable arrays of the outermost adapters: `{"blocks/q": {"a": ..., "b": ...}}`.

    Name the targets of the newest adapter where it sits on fewer kinds than the one below it, else the lower one's
    arrays are among them.
    """
    leaves = named(params, is_leaf=is_lora).items()
    return {name: {"a": w.a, "b": w.b} for name, w in leaves if is_lora(w) and name.rsplit("/", 1)[-1] in targets}


def put(params: Tree, trained: dict[str, dict[str, jax.Array]]) -> Tree:
    """The same model with these arrays in its outermost adapters; those that are not named stay."""

    def one(path: Any, w: Any) -> Any:
        return replace(w, **trained[path_name(path)]) if is_lora(w) and path_name(path) in trained else w

    return jax.tree_util.tree_map_with_path(one, params, is_leaf=is_lora)


def save(folder: Path, trained: dict[str, dict[str, Any]], settings: dict[str, Any]) -> None:
    """Write `adapter.safetensors` with rank, alpha and targets in its metadata."""
    import json

    import numpy as np
    from safetensors.numpy import save_file

    tensors = {f"{name}.{part}": np.asarray(x) for name, parts in trained.items() for part, x in parts.items()}
    save_file(tensors, folder / "adapter.safetensors", metadata={"lora": json.dumps(settings, sort_keys=True)})


def load_onto(arch: Architecture, params: Tree, folder: Path) -> Tree:
    """Attach a saved adapter to a model."""
    import json

    from safetensors import SafetensorError, safe_open

    path = folder / "adapter.safetensors"
    try:
        with safe_open(path, framework="numpy") as f:
            settings = json.loads(f.metadata()["lora"])
            rank, alpha, targets = (settings[name] for name in ("rank", "alpha", "targets"))
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the adapter {path.name} cannot be read", got=error, fix="run the stage again") from error
    fresh = attach(arch, params, seed=0, rank=rank, alpha=alpha, targets=targets)
    expected = {f"{name}.{part}": x.shape for name, parts in adapter(fresh, targets).items() for part, x in parts.items()}
    got = {name: x.shape for name, x in tensors.items()}
    if got != expected:
        wrong = sorted(name for name in got.keys() | expected.keys() if got.get(name) != expected.get(name))[0]
        fix = "use the model on which it was trained"
        raise ModelError(f"the adapter does not fit the model: {wrong}", got=got.get(wrong), expected=expected.get(wrong), fix=fix)
    trained: dict[str, dict[str, Any]] = {}
    for name, x in tensors.items():
        leaf, part = name.rsplit(".", 1)
        trained.setdefault(leaf, {})[part] = jnp.asarray(x)
    return put(fresh, trained)
