"""Low-rank deltas as pairs of matrices in Hugging Face's layout, one a module: what every format of adapters holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from solon.core import plugins
from solon.core.adapters import DoRA
from solon.core.dense import LoRA, is_adapter, kept, mergeable
from solon.core.errors import ModelError
from solon.core.weights import Tree, Weight, is_weight, named
from solon.models.architecture import Architecture, spec

Deltas = dict[str, "Delta"]


@dataclass(frozen=True)
class Delta:
    """What an adapter adds to one matrix `[out in]`: `scale * b @ a`, with `a [rank in]` and `b [out rank]`, float32.

    `m` `[out]`, if there is one, is DoRA's length of each row of the sum (arXiv 2402.09353).
    """

    a: np.ndarray
    b: np.ndarray
    scale: float
    m: np.ndarray | None = None

    @property
    def rank(self) -> int:
        return self.a.shape[0]


def tensor_names(arch: Architecture) -> dict[str, str]:
    """Path in Solon's tree to the tensor's name in a Hugging Face checkpoint; `{}` is the layer."""
    return plugins.load("families", arch.family).names(arch)


def modules(arch: Architecture) -> dict[str, tuple[str, int | None, Weight]]:
    """Every matrix by its module's name: its path in the tree, its layer, and what it is."""
    out: dict[str, tuple[str, int | None, Weight]] = {}
    for path, name in tensor_names(arch).items():
        w = named(spec(arch), is_leaf=is_weight).get(path)
        if w is None or not w.ins:
            continue
        for layer in range(arch.layers) if w.stacked else [None]:
            out[name.format(layer).removesuffix(".weight")] = (path, layer, w)
    return out


def of_params(arch: Architecture, params: Tree) -> Deltas:
    """The adapters of a model, those that lie on one another joined. Empty for a model without any."""
    leaves = named(params, is_leaf=is_adapter)
    chains = {path: _chain(path, leaf) for path, leaf in leaves.items() if is_adapter(leaf)}
    outside = [path for path in chains if not path.startswith("blocks/")]
    if outside:
        fix = "write the merged model instead: solon export MODEL --to hf OUT"
        raise ModelError("adapters are written for the layers' linear weights only", got=f"one on {outside[0]}", fix=fix)
    out: Deltas = {}
    for module, (path, layer, _) in modules(arch).items():
        if path in chains:
            out[module] = joined([_delta(leaf, layer) for leaf in chains[path]])
    return out


def _chain(path: str, leaf: Any) -> list[LoRA | DoRA]:
    """A leaf's adapters, innermost first. Raises `ModelError` for one that is not a sum of a base and a low-rank delta."""
    out: list[LoRA | DoRA] = []
    outermost = leaf
    while is_adapter(leaf):
        alone = not out and not is_adapter(leaf.base)
        if not (type(leaf) is LoRA or (type(leaf) is DoRA and alone)) or kept(leaf.base) is not None:
            kind = "LoRA over a pruned weight" if type(leaf) is LoRA else type(leaf).__name__ + ("" if alone else " in a chain")
            fix = "write the merged model instead: solon export MODEL --to hf OUT"
            if not mergeable(outermost):  # there is no format but Solon's own that holds it
                fix = "it cannot be merged either, so it works in Solon only, by its name; to take one elsewhere, train kind: lora"
            raise ModelError(f"the adapter on {path} is no low-rank delta, so it cannot be written as one", got=kind, fix=fix)
        out.insert(0, leaf)
        leaf = leaf.base
    return out


def _delta(leaf: LoRA | DoRA, layer: int | None) -> Delta:
    a, b = (np.asarray(x if layer is None else x[layer], np.float32) for x in (leaf.a, leaf.b))
    rank = a.shape[-1]
    flat = np.ascontiguousarray(a.reshape(-1, rank).T), np.ascontiguousarray(b.reshape(rank, -1).T)
    gain = 1.0 if leaf.gain is None or layer is None else float(leaf.gain[layer])  # where layers differ in rank
    m = (leaf.m if layer is None else leaf.m[layer]).reshape(-1) if isinstance(leaf, DoRA) else None
    return Delta(*flat, float(leaf.scale) * gain, None if m is None else np.asarray(m, np.float32))


def joined(parts: Sequence[Delta]) -> Delta:
    """Several deltas of one matrix as one whose rank is the sum of theirs.

    Nothing is lost: `[b1 b2] @ [a1; a2] = b1 @ a1 + b2 @ a2`. Where scales differ they go into `b`, which costs one
    rounding of float32 an entry, and none if they are powers of two.
    """
    if len(parts) == 1:
        return parts[0]
    same = len({part.scale for part in parts}) == 1
    b = [part.b if same else part.b * np.float32(part.scale) for part in parts]
    return Delta(np.concatenate([part.a for part in parts]), np.concatenate(b, 1), parts[0].scale if same else 1.0)


def low_rank(deltas: Deltas) -> Deltas:
    """The same deltas. Raises `ModelError` where one also changes the lengths of its matrix, so that it is no sum."""
    lengths = [module for module, delta in deltas.items() if delta.m is not None]
    if lengths:
        fix = "use --to peft, or the merged model (--to hf or gguf)"
        raise ModelError("a DoRA adapter is no low-rank delta of its base, so this cannot be done with it", got=lengths[0], fix=fix)
    return deltas


def scaled(delta: Delta, by: float) -> Delta:
    return replace(delta, scale=delta.scale * by)


def combined(many: Sequence[tuple[Deltas, float]]) -> Deltas:
    """The weighted sum of several adapters, exactly; a module that one of them lacks comes from the others."""
    found: dict[str, list[Delta]] = {}
    for deltas, weight in many:
        for module, delta in deltas.items():
            found.setdefault(module, []).append(scaled(delta, weight))
    return {module: joined(parts) for module, parts in found.items()}


def inner(p: Delta, q: Delta) -> float:
    """The Frobenius inner product of two deltas, without making either."""
    left, right = (p.b.astype(np.float64).T @ q.b, p.a.astype(np.float64) @ q.a.T)
    return float(p.scale * q.scale * (left * right).sum())


def norm(delta: Delta) -> float:
    return max(inner(delta, delta), 0.0) ** 0.5


def difference(p: Delta, q: Delta) -> float:
    """The Frobenius norm of the difference of two deltas; made of their factors' triangular parts, so that it does not
    suffer from the cancellation of `|p|^2 - 2 pq + |q|^2`."""
    both = joined([p, scaled(q, -1.0)])
    _, left = np.linalg.qr(both.b.astype(np.float64))
    _, right = np.linalg.qr(both.a.astype(np.float64).T)
    return float(abs(both.scale) * np.linalg.norm(left @ right.T))


def truncated(delta: Delta, rank: int) -> Delta:
    """The nearest delta of at most this rank (Eckart and Young 1936), by an SVD of the factors alone."""
    if delta.rank <= rank:
        return delta
    q_out, left = np.linalg.qr(delta.b.astype(np.float64))
    q_in, right = np.linalg.qr(delta.a.astype(np.float64).T)
    u, s, v = np.linalg.svd(left @ right.T)
    root = np.sqrt(s[:rank])
    a, b = (root[:, None] * (v[:rank] @ q_in.T)), (q_out @ u[:, :rank]) * root
    return Delta(np.ascontiguousarray(a, np.float32), np.ascontiguousarray(b, np.float32), delta.scale)


def array(delta: Delta) -> np.ndarray:
    """The delta `[out in]` in float32, summed rank by rank with elementwise operations, which every IEEE machine rounds
    alike. A matrix product would not do: its order of summation depends on the processor and the number of threads."""
    out = np.zeros((delta.b.shape[0], delta.a.shape[1]), np.float32)
    part = np.empty_like(out)
    for k in range(delta.rank):
        np.multiply(delta.b[:, k, None], delta.a[k], out=part)
        out += part
    out *= np.float32(delta.scale)
    return out


def digest(deltas: Deltas) -> str:
    """SHA-256 over names and numbers. Columns that are zero and where the scale stands do not count: an adapter that was
    filled up to the largest rank in one format is the same one."""
    sha = hashlib.sha256()
    for module in sorted(deltas):
        delta = deltas[module]
        used = delta.a.any(1) & delta.b.any(0)
        sha.update(f"{module} {used.sum()}\n".encode())
        for x in (delta.a[used], delta.b[:, used] * np.float32(delta.scale), *(() if delta.m is None else (delta.m,))):
            sha.update(np.ascontiguousarray(x, "<f4").tobytes())
    return sha.hexdigest()


def to_trained(arch: Architecture, deltas: Deltas) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """Arrays and settings as `solon.learn.lora` saves them. Ranks below the largest are filled up with zeros, and where
    scales differ they go into `b`. Raises `ModelError` for a module that the model has not, or that only some layers have."""
    known = modules(arch)
    unknown = [module for module in deltas if module not in known or known[module][1] is None]
    if unknown:
        fix = "adapters lie on the linear weights of the layers: " + ", ".join(_kinds(known))
        raise ModelError("the adapter changes a module on which Solon puts none", got=unknown[0], fix=fix)
    targets = {known[module][0] for module in deltas}
    lacking = [module for module, (path, _, _) in known.items() if path in targets and module not in deltas]
    if lacking:
        raise ModelError("the adapter leaves out layers (layers_to_transform), which Solon does not represent", got=f"none on {lacking[0]}")
    dora = any(delta.m is not None for delta in deltas.values())
    if dora and any(delta.m is None for delta in deltas.values()):
        raise ModelError("the adapter is DoRA on some weights and LoRA on others, which Solon does not represent")
    rank = max(delta.rank for delta in deltas.values())
    scales = {delta.scale for delta in deltas.values()}
    scale = scales.pop() if len(scales) == 1 else 1.0
    stacked: dict[str, dict[str, list[np.ndarray]]] = {}
    for module, (path, _, w) in known.items():
        if path in targets:
            a, b = _filled(arch, w, deltas[module], rank, scale, module)
            parts = stacked.setdefault(path, {"a": [], "b": []})
            parts["a"].append(a)
            parts["b"].append(b)
            if dora:
                parts.setdefault("m", []).append(np.asarray(deltas[module].m).reshape([arch.sizes[axis] for axis in w.outs]))
    trained = {path: {part: np.stack(layers) for part, layers in parts.items()} for path, parts in stacked.items()}
    kinds = [kind for kind in _kinds(known) if f"blocks/{kind}" in targets]
    return trained, {"rank": rank, "alpha": scale * rank, "targets": kinds, **({"kind": "dora"} if dora else {})}


def _kinds(known: Mapping[str, tuple[str, int | None, Weight]]) -> list[str]:
    return list(dict.fromkeys(path.rpartition("/")[2] for path, layer, _ in known.values() if layer is not None))


def _filled(arch: Architecture, w: Weight, delta: Delta, rank: int, scale: float, module: str) -> tuple[np.ndarray, np.ndarray]:
    """One layer's `a [*ins rank]` and `b [rank *outs]`."""
    ins, outs = (tuple(arch.sizes[axis] for axis in axes) for axes in (w.ins, w.outs))
    got, expected = (delta.a.shape[1], delta.b.shape[0]), (int(np.prod(ins)), int(np.prod(outs)))
    if got != expected or delta.b.shape[1] != delta.rank:
        raise ModelError(f"the adapter does not fit the model at {module}", got=got, expected=expected, fix="use its own base model")
    b = delta.b if delta.scale == scale else delta.b * np.float32(delta.scale / scale)
    more = rank - delta.rank
    a_full, b_full = np.pad(delta.a.T, ((0, 0), (0, more))), np.pad(b.T, ((0, more), (0, 0)))
    return a_full.reshape(*ins, rank).astype(np.float32), b_full.reshape(rank, *outs).astype(np.float32)
