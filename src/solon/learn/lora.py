"""Adapters as leaves of the weight tree: attach, take out, put back, save."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.adapters import Bottleneck, DoRA, Full, Scaled, column_norms
from solon.core.dense import Adapter, LoRA, is_adapter, kept, merged
from solon.core.errors import ConfigError, ModelError
from solon.core.keys import seed_of
from solon.core.quantise import quantise
from solon.core.weights import Tree, Weight, is_weight, named, path_name, rewrite
from solon.models.architecture import LINEAR, Architecture, spec

KINDS = ("lora", "rslora", "dora", "bottleneck", "ia3", "full")
TABLES = ("embed", "unembed")
VECTORS = (
    "attn_norm", "mlp_norm", "attn_post_norm", "mlp_post_norm", "q_norm", "k_norm", "norm", "q_bias", "k_bias", "v_bias",
)  # fmt: skip
EVERY = (*LINEAR, *TABLES, *VECTORS)
# Where a kind belongs by its paper: bottlenecks behind both sublayers; IA3 on keys, values and the MLP's inner state.
TARGETS: Mapping[str, tuple[str, ...]] = {"bottleneck": ("o", "down"), "ia3": ("k", "v", "down"), "full": EVERY}


def attach(
    arch: Architecture, params: Tree, *, rank: int, alpha: float, seed: int, dropout: float = 0.0,
    targets: Sequence[str] = LINEAR, kind: str = "lora", ranks: Mapping[str, int] | None = None,
) -> Tree:  # fmt: skip
    """Put a fresh adapter on the given kinds of matrices of every layer. It changes nothing until trained.

    `kind` is `lora` (scale alpha / rank), `rslora` (alpha / sqrt(rank), arXiv 2312.03732), `dora`, `bottleneck` (`rank` is its
    width) or `ia3`; the last two know neither alpha nor dropout. `full` trains the weights themselves and knows none of rank,
    alpha and dropout; its targets may be vectors, and those that the model lacks are passed over. `ranks` gives other ranks
    to matrices by name: the first pattern found in `blocks/3/q` counts. `lora` and `rslora` may also target `embed` and
    `unembed`. Where the output is tied, both are one table: the adapter then changes the output as well as the input.

    Adapters nest: attaching to a model that already carries one freezes the inner one.
    """
    _check(arch, kind, rank, targets, ranks or {})
    if kind == "full":
        return _whole(arch, params, targets)
    used: set[str] = set()

    def one(name: str, w: Weight, leaf: Any) -> Adapter:
        by_layer = _ranks(arch, name, w, rank, ranks or {}, used)
        return _fresh(arch, name, w, leaf, kind, by_layer, alpha, seed, dropout)

    blocks = "|".join(name for name in targets if name not in TABLES) or "^"
    tables = "|".join(name for name in targets if name in TABLES) or "^"
    out = rewrite(one, rf"^(blocks/({blocks})|({tables}))$", spec(arch), params)
    unused = [pattern for pattern in ranks or {} if pattern not in used]
    if unused:
        fix = "patterns are looked for in names such as blocks/3/q; the first that is found counts"
        raise ConfigError("a pattern of ranks names no matrix with an adapter", got=unused[0], fix=fix)
    return out


def _whole(arch: Architecture, params: Tree, targets: Sequence[str]) -> Tree:
    """Every weight of these names as numbers to train, vectors included."""

    def one(path: Any, _: Weight, leaf: Any) -> Any:
        name = path_name(path).rsplit("/", 1)[-1]
        return Full(leaf, jnp.asarray(merged(leaf), jnp.float32)) if name in targets else leaf

    return jax.tree_util.tree_map_with_path(one, spec(arch), params, is_leaf=is_weight)


def _check(arch: Architecture, kind: str, rank: int, targets: Sequence[str], ranks: Mapping[str, int]) -> None:
    if kind not in KINDS:
        raise ConfigError("unknown kind of adapter", got=kind, expected=", ".join(KINDS))
    if kind == "full" and ranks:
        raise ConfigError("full fine-tuning has no ranks", got=", ".join(ranks), fix="leave out the patterns of ranks")
    known = EVERY if kind == "full" else (*LINEAR, "embed") if arch.tied else (*LINEAR, *TABLES)
    for name in targets:
        if name not in known:
            raise ConfigError("an adapter is asked for where there is no matrix", got=name, expected=", ".join(known))
        if name in TABLES and kind not in ("lora", "rslora", "full"):
            raise ConfigError(f"a table of embeddings takes no {kind} adapter", got=name, fix="use lora, or leave it out")
    largest = min(arch.embed, arch.mlp)
    for size in (rank, *ranks.values()):
        if not 1 <= size <= largest:
            raise ConfigError("the rank of an adapter does not fit the model", got=size, expected=f"1 to {largest}")
    for pattern in ranks:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError("a pattern of ranks is no regular expression", got=pattern, fix=str(error)) from error


def _ranks(
    arch: Architecture, name: str, w: Weight, rank: int, ranks: Mapping[str, int], used: set[str]
) -> np.ndarray:  # fmt: skip
    """The rank in each layer, `[layers]`, or `[1]` for a matrix that is not stacked; `used` gathers the patterns that count."""
    names = [name.replace("blocks/", f"blocks/{i}/") for i in range(arch.layers)] if w.stacked else [name]
    found = [next((pattern for pattern in ranks if re.search(pattern, one)), None) for one in names]
    used.update(pattern for pattern in found if pattern is not None)
    return np.array([rank if pattern is None else ranks[pattern] for pattern in found])


def _fresh(
    arch: Architecture, name: str, w: Weight, leaf: Any, kind: str, ranks: np.ndarray, alpha: float, seed: int, dropout: float
) -> Adapter:
    """An adapter that is the identity: the second half of its pair is zero."""
    lead, ins, outs = (tuple(arch.sizes[axis] for axis in axes) for axes in (w.stacked, w.ins, w.outs))
    if kind == "ia3":
        inputs = name.endswith("/down")
        return Scaled(leaf, jnp.ones((*lead, *(ins if inputs else outs))), len(outs), inputs)
    rank = int(ranks.max())
    start = outs if kind == "bottleneck" else ins
    fan_in = arch.embed if w.ins == ("vocab",) else prod(start)
    key = jax.random.key(seed_of("lora", seed, name))
    a = jax.random.normal(key, (*lead, *start, rank)) * fan_in**-0.5
    gain = None
    # A column of `a` and its row of `b` that are both zero have no gradient, so a padded rank stays what it is.
    if len(set(ranks.tolist())) > 1:
        a = a * (np.arange(rank) < ranks[:, None]).reshape(*lead, *(1,) * len(start), rank)
        gain = jnp.asarray(_scale(kind, alpha, ranks) / _scale(kind, alpha, rank), jnp.float32)
    b = jnp.zeros((*lead, rank, *outs))
    if kind == "bottleneck":
        return Bottleneck(leaf, a, jnp.zeros((*lead, rank)), b, jnp.zeros((*lead, *outs)))
    pair: dict[str, Any] = {"gain": gain, "scale": float(_scale(kind, alpha, rank)), "n_in": len(ins), "rate": dropout}
    if kind != "dora":
        return LoRA(leaf, a, b, **pair)
    if kept(leaf) is not None:
        raise ConfigError(f"{name} is pruned, and DoRA would fill its zeros", fix="use lora or rslora")
    norm = column_norms(merged(leaf), len(lead), len(ins))
    return DoRA(leaf, a, b, norm, norm, **pair)


def _scale(kind: str, alpha: float, rank: Any) -> Any:
    return alpha / rank**0.5 if kind == "rslora" else alpha / rank


def adapter(params: Tree, targets: Sequence[str] = EVERY) -> dict[str, dict[str, jax.Array]]:
    """The trainable arrays of the outermost adapters: `{"blocks/q": {"a": ..., "b": ...}}`.

    Name the targets of the newest adapter where it sits on fewer kinds than the one below it, else the lower one's
    arrays are among them.
    """
    leaves = {name: w for name, w in named(params, is_leaf=is_adapter).items() if is_adapter(w)}
    return {
        name: {part: getattr(w, part) for part in w.TRAINED}
        for name, w in leaves.items() if name.rsplit("/", 1)[-1] in targets
    }  # fmt: skip


def put(params: Tree, trained: dict[str, dict[str, jax.Array]]) -> Tree:
    """The same model with these arrays in its outermost adapters; those that are not named stay."""

    def one(path: Any, w: Any) -> Any:
        return replace(w, **trained[path_name(path)]) if is_adapter(w) and path_name(path) in trained else w

    return jax.tree_util.tree_map_with_path(one, params, is_leaf=is_adapter)


def emptied(params: Tree, targets: Sequence[str] = EVERY) -> Tree:
    """The same model with nothing in those adapters, to be filled by `put`: what is trained is then held once and not twice."""
    return put(params, jax.tree.map(lambda x: np.zeros(0, x.dtype), adapter(params, targets)))


def save(folder: Path, trained: dict[str, dict[str, Any]], settings: dict[str, Any]) -> None:
    """Write `adapter.safetensors` with rank, alpha and targets in its metadata, and kind, ranks and `quantise` of the base
    where they are not the usual ones."""
    import json

    from safetensors.numpy import save_file

    # safetensors writes an array as it lies in memory, so a transposed one would come back wrong and without an error.
    tensors = {f"{name}.{part}": np.ascontiguousarray(x) for name, parts in trained.items() for part, x in parts.items()}
    save_file(tensors, folder / "adapter.safetensors", metadata={"lora": json.dumps(settings, sort_keys=True)})


def stored(folder: Path) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """Arrays and settings of a saved adapter as they lie on the disk. Raises `ModelError` for a file that cannot be read."""
    import json

    from safetensors import SafetensorError, safe_open

    path = folder / "adapter.safetensors"
    try:
        with safe_open(path, framework="numpy") as f:
            settings = json.loads(f.metadata()["lora"])
            absent = {"rank", "alpha", "targets"} - set(settings)
            if absent:
                raise KeyError(f"no {', '.join(sorted(absent))}")
            trained: dict[str, dict[str, np.ndarray]] = {}
            for name in f.keys():  # noqa: SIM118 (not a dict)
                leaf, part = name.rsplit(".", 1)
                trained.setdefault(leaf, {})[part] = f.get_tensor(name)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the adapter {path.name} cannot be read", got=error, fix="run the stage again") from error
    return trained, settings


def load_onto(arch: Architecture, params: Tree, folder: Path) -> Tree:
    """Attach a saved adapter to a model; a base that was quantised for training is quantised again."""
    trained, settings = stored(folder)
    form = {name: settings[name] for name in ("rank", "alpha", "targets", "kind", "ranks") if name in settings}
    if "quantise" in settings:
        params = quantise(spec(arch), params, settings["quantise"])
    fresh = attach(arch, params, seed=0, **form)
    expected = {f"{name}.{part}": x.shape for name, parts in adapter(fresh, form["targets"]).items() for part, x in parts.items()}
    got = {f"{name}.{part}": x.shape for name, parts in trained.items() for part, x in parts.items()}
    if got != expected:
        wrong = sorted(name for name in got.keys() | expected.keys() if got.get(name) != expected.get(name))[0]
        fix = "use the model on which it was trained"
        raise ModelError(f"the adapter does not fit the model: {wrong}", got=got.get(wrong), expected=expected.get(wrong), fix=fix)
    return put(fresh, jax.tree.map(jnp.asarray, trained))
