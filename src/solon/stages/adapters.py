"""Adapters as things of their own: brought in, listed, compared, combined, merged into their base and taken out again."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from solon.core.artifacts import Record, Silent, Store, write_text
from solon.core.errors import ConfigError, ModelError, StorageError
from solon.core.folders import MARK, check_free, whole
from solon.core.quantise import KINDS, quantise
from solon.core.weights import Tree
from solon.learn import lora
from solon.learn.merging import base_form, merge_quantised
from solon.models import deltas
from solon.models.architecture import spec
from solon.models.deltas import Delta, Deltas
from solon.models.formats import LazyTensors, peft, read, safetensors
from solon.models.formats.gguf_vocabulary import template_of
from solon.models.formats.hf_config import hf_config
from solon.models.load import Model, from_checkpoint, lazy_tensors
from solon.stages.export import Order, bare, compare, cost_record, finish, found_deltas, history, marked, prose, record
from solon.stages.models import (
    BASE,
    adapters,
    base,
    base_of,
    is_adapter_folder,
    published,
    published_name,
    ready,
    resolve,
)
from solon.stages.runs import list_runs

UNDO = "unmerge.npz"
"""What has to be added, in the last bits, to a merged weight less its delta to give the base weight again."""


def bring_in(folder: Path, name: str, out: Path, force: bool = False) -> Record:
    """A PEFT adapter as a folder that Solon loads by its path. Raises `ModelError` for what Solon does not represent."""
    check_free(out, force)
    found, said = peft.read(folder)
    model, form = ready(base(name, "float32")), peft.base_form(folder)
    facts = {"made": "imported from PEFT", "base_in_peft": said, "exported_from": marked(folder).get("adapter")}
    return _store(model, name, found, form, out, force, facts)


def combine(many: Sequence[tuple[str, float]], store: Store, out: Path, rank: int | None = None, force: bool = False) -> Record:
    """The weighted sum of adapters of one base in one form, exactly, or cut to a rank by SVD with the error stated."""
    check_free(out, force)
    models = [(name, resolve(name, store, "float32"), weight) for name, weight in many]
    _one_base(models[0][1], *(model for _, model, _ in models[1:]))
    form = _one_form(models[0][1], *(model for _, model, _ in models[1:]))
    whole_sum = deltas.combined([(found_deltas(model), weight) for _, model, weight in models])
    kept = {module: deltas.truncated(delta, rank) for module, delta in whole_sum.items()} if rank else whole_sum
    facts = {"made": "combined", "parts": [list(one) for one in many], **_error(whole_sum, kept)}
    return _store(models[0][1], published(many[0][0], store), kept, form, out, force, facts)


def _one_base(first: Model, *others: Model) -> None:
    for other in others:
        if other.digest != first.digest:
            raise ConfigError("the adapters lie on different base models", got=f"{other.name} on {other.digest[:16]}", expected=first.digest[:16])


def _one_form(first: Model, *others: Model) -> str | None:
    """How the base of all of them was held in training. A sum over the one form would answer for rounding that another
    adapter never saw."""
    form = base_form(first.params)
    for other in others:
        if base_form(other.params) != form:
            got = f"{first.name} over {form or 'plain weights'}, {other.name} over {base_form(other.params) or 'plain weights'}"
            fix = "combine adapters trained over one form (solon adapters list shows it)"
            raise ConfigError("the adapters were trained over one base in different forms", got=got, fix=fix)
    return form


def _error(exact: Deltas, kept: Deltas) -> Record:
    """How far a cut adapter is from the whole one: the relative Frobenius error over all weights, and of the worst one."""
    lost = {module: deltas.difference(exact[module], kept[module]) if kept[module] is not exact[module] else 0.0 for module in exact}
    size = {module: deltas.norm(exact[module]) for module in exact}
    worst = max(exact, key=lambda module: lost[module] / (size[module] or 1.0))
    total = sum(x * x for x in size.values()) ** 0.5
    return {
        "rank": max(delta.rank for delta in kept.values()), "rank_before": max(delta.rank for delta in exact.values()),
        "relative_error": sum(x * x for x in lost.values()) ** 0.5 / (total or 1.0),
        "worst": {"module": worst, "relative_error": lost[worst] / (size[worst] or 1.0)},
    }  # fmt: skip


def _store(model: Model, name: str, found: Deltas, form: str | None, out: Path, force: bool, facts: Mapping[str, Any]) -> Record:
    """Write `adapter.safetensors` and the name of its base, read both back, and compare with the numbers meant.

    `form` is how the base was quantised in training; who loads the adapter then gets it over a base in that form again.
    """
    trained, settings = deltas.to_trained(model.arch, found)
    settings |= {"quantise": form} if form else {}
    rounded = base_form(model.params) is not None
    plain = base(name, "float32").params if rounded else bare(model)
    local = Path(name).expanduser()
    base_name = str(local.resolve()) if local.exists() else name  # a path has to hold from any working directory
    with whole(out, force) as folder:
        lora.save(folder, trained, settings)
        write_text(folder / BASE, json.dumps({"base": base_name, "digest": model.digest}, indent=1) + "\n")
        params = lora.load_onto(model.arch, plain, folder)
        back = deltas.of_params(model.arch, params)
        error = max(_gap(found[module], back[module]) for module in found)
        error = max([error, *(float(np.abs(x.m - back[module].m).max()) for module, x in found.items() if x.m is not None)])  # type: ignore[operator]
        if set(back) != set(found) or not error <= 1e-6:
            raise ModelError("the adapter read back is not the one that was written", got=f"relative error {error:.2g}", expected="at most 1e-06")
        if rounded and not _same(bare(model), bare(replace(model, params=params))):
            fix = "train both adapters over one form of the base"
            raise ModelError(f"the base of {model.name} was rounded twice, which no stored adapter can say", expected=f"{form} of the published weights", fix=fix)
        made = {
            "format": "solon-adapter", "base": base_name, "base_digest": model.digest, "licence": model.licence, **settings,
            "adapter": deltas.digest(back), "modules": len(found), "read_back_error": error, **facts,
        }  # fmt: skip
        write_text(folder / MARK, json.dumps(made, indent=1) + "\n")
    return made


def _same(one: Tree, other: Tree) -> bool:
    """Are two trees the same to the bit?"""
    xs, ys = jax.tree.leaves(one), jax.tree.leaves(other)
    return len(xs) == len(ys) and all(np.array_equal(x, y) for x, y in zip(xs, ys, strict=True))


def _gap(p: Delta, q: Delta) -> float:
    return deltas.difference(p, q) / (deltas.norm(p) or 1.0)


def merge(name: str, store: Store, out: Path, order: Order, progress: Any = None, kind: str | None = None) -> Record:
    """A model with its adapters added into its weights, as a Hugging Face folder, and what `unmerge` needs to undo it.

    `kind`, `int8` or `int4`, rounds the sum to that form, and the KL divergence that this costs is in the record. The folder
    holds the numbers of that form in float32: rounding them again gives the same ones. Raises `ModelError` where it
    costs more than the order allows.
    """
    check_kind(kind, order)
    check_free(out, order.force)
    source = published(name, store)
    before = history(source)
    model = resolve(name, store, "float32")
    found = _not_merged(model, before, marked(Path(name)).get("exported_from") if is_adapter_folder(name) else None)
    progress = progress or Silent()
    names = deltas.tensor_names(model.arch)
    plain = lazy_tensors(model.arch, names, bare(model))
    meant, change = _rounded(model, kind, order)
    with whole(out, order.force) as folder:
        tensors = lazy_tensors(model.arch, names, meant.params)
        words = model.tokenizer.with_template(template_of(model.tokenizer))
        safetensors.write(folder, hf_config(model.arch), tensors, words, order.kind, order.shard)
        back = read(folder)
        again = from_checkpoint(name, back)
        checked = compare(meant, again, order.limit)
        if kind and not _same_numbers(meant.params, quantise(spec(model.arch), again.params, kind)):
            raise ModelError(f"the numbers read back are not those of {kind} when they are rounded again", fix="merge without --quantise")
        with progress.task("keep what undoes it", len(found), "weights") as advance:
            _write_undo(folder / UNDO, plain, back.tensors, _by_tensor(found), advance)
        made = record(model, source, folder, order, checked)
        made |= {"merged": [*before, deltas.digest(found)], "unmerged": tensors_digest(plain), **change}
        finish(folder, made)
    return made


def check_kind(kind: str | None, order: Order) -> None:
    """Raise `ConfigError` for a form that does not exist, or one that the order's type of numbers cannot hold."""
    if kind not in (None, *KINDS):
        raise ConfigError("there is no such form of the weights (--quantise)", got=kind, expected=" or ".join(KINDS))
    if kind and order.kind != "f32":
        raise ConfigError(f"the numbers of {kind} are kept exactly in f32 only", got=f"--type {order.kind}", fix="leave out --type")


def _rounded(model: Model, kind: str | None, order: Order) -> tuple[Model, Record]:
    """The model that a merge means: with its adapters as leaves, or merged and rounded, and then what that costs."""
    if kind is None:
        return model, {}
    after, paid = merge_quantised(model.arch, model.params, prose(model), kind=kind, limit=order.most)
    return replace(model, params=after), {"quantise": kind, "cost": cost_record(f"merging and rounding to {kind}", paid)}


def _same_numbers(one: Tree, other: Tree) -> bool:
    """Do two trees of one form hold the same numbers, but for the last bit of the scales of int8?"""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.allclose(x, y, rtol=3e-7, atol=0) if x.dtype == np.float32 else np.array_equal(x, y) for x, y in pairs)


def _not_merged(model: Model, before: Sequence[str], source: str | None = None) -> Deltas:
    """The model's adapter, unless it, or the `source` that it was in finer numbers before PEFT's, is in the weights already."""
    found = deltas.of_params(model.arch, model.params)
    if not found:
        said = "its adapter was merged before" if before else "it has no adapter"
        raise ConfigError(f"there is nothing to merge into {model.name}", got=said, fix="name a model with an adapter, such as latest:aligned")
    if deltas.digest(found) in before or source in before:
        fix = "use the merged model as it is, or take the adapter out first: solon adapters unmerge"
        raise ConfigError("this adapter was merged into this base before; merging it twice would apply it twice", fix=fix)
    return found


def _by_tensor(found: Deltas) -> Deltas:
    return {f"{module}.weight": delta for module, delta in found.items()}


def _write_undo(path: Path, plain: LazyTensors, merged: Mapping[str, np.ndarray], found: Deltas, advance: Any) -> None:
    """For every changed weight the difference, in units of the last place, between the base and what subtraction gives.
    Weights without a delta change too where the merged model is kept in fewer bits."""
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name in merged:
                steps = (_bits(plain[name]) - _bits(_less(merged[name], found.get(name)))).view(np.int32)
                if name not in found and not steps.any():
                    continue
                # Small numbers of either sign become small numbers without one, which compress well.
                folded = ((steps << 1) ^ (steps >> 31)).view(np.uint32)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, folded.astype(_narrow(folded)), allow_pickle=False)
                advance(name in found)
    except OSError as error:
        raise StorageError(f"{path.name} could not be written", got=error, fix="free some space, then retry") from error


def _less(merged: np.ndarray, delta: Delta | None) -> np.ndarray:
    """About the base. DoRA scales its sum, which subtraction does not undo: there all of the way is kept."""
    return merged if delta is None or delta.m is not None else merged - deltas.array(delta)


def _narrow(values: np.ndarray) -> Any:
    return next(kind for kind in (np.uint8, np.uint16, np.uint32) if int(values.max(initial=0)) <= np.iinfo(kind).max)


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32).view(np.uint32)


def unmerge(folder: Path, adapter: str, store: Store, out: Path, force: bool = False, progress: Any = None) -> Record:
    """The base of a merged model again, bit for bit, or an error.

    Subtracting the delta gives the base but for the rounding of the last bits, which `merge` kept; the digest of the
    base's numbers, kept as well, proves the result. For an adapter that was trained over rounded weights (`base_form` in the
    record) these are what comes back, and not the published ones.
    """
    check_free(out, force)
    made = _merged_record(folder)
    checkpoint = read(folder)
    model = from_checkpoint(str(folder), checkpoint)
    found = _adapter_on(model, adapter, store)
    order = Order("hf", force=force)
    with (progress or Silent()).task("take the adapter out", len(found), "weights") as advance:
        tensors = _unmerged(folder / UNDO, checkpoint.tensors, _by_tensor(found), advance)
        if tensors_digest(tensors) != made["unmerged"]:
            if deltas.digest(found) != made["merged"][-1]:
                fix = "name the adapter that was merged last"
                raise ConfigError("this is not the adapter that was merged", got=deltas.digest(found)[:16], expected=made["merged"][-1][:16], fix=fix)
            raise ModelError("the base could not be restored bit for bit, so nothing was written", fix="the merged folder was changed after it was made")
    with whole(out, force) as aside:
        safetensors.write(aside, hf_config(model.arch), tensors, model.tokenizer)
        back = read(aside)
        if tensors_digest(back.tensors) != made["unmerged"]:
            raise ModelError("what was written is not what was read back", fix="look at the disk, then retry")
        now = from_checkpoint(made["base"], back)
        result = record(now, made["base"], aside, order, {})
        result |= {"base_digest": made["base_digest"], "base_form": made.get("base_form")}
        result |= {"merged": made["merged"][:-1], "restored": made["unmerged"]}
        finish(aside, result)
    return result


def _merged_record(folder: Path) -> Record:
    made = marked(folder)
    if not made.get("merged") or not (folder / UNDO).is_file():
        fix = "name a folder that `solon adapters merge` wrote"
        raise ConfigError(f"{folder} is not a merged model that can be undone", got=f"no {UNDO}", fix=fix)
    return made


def _unmerged(path: Path, merged: Mapping[str, np.ndarray], found: Deltas, advance: Any) -> LazyTensors:
    out: dict[str, np.ndarray] = {}
    with np.load(path, allow_pickle=False) as undo:
        for name in undo.files:
            folded = undo[name].astype(np.uint32)
            steps = (folded >> 1) ^ (np.uint32(0) - (folded & 1))
            out[name] = (_bits(_less(merged[name], found.get(name))) + steps).view(np.float32)
            advance(name in found)
    shapes = {name: tuple(merged.shapes[name]) for name in merged}  # type: ignore[attr-defined]
    return LazyTensors({name: (lambda name=name: out[name] if name in out else merged[name]) for name in merged}, shapes)  # type: ignore[misc]


def tensors_digest(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names and float32 numbers, whatever files they lie in."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(name.encode() + b"\0" + np.ascontiguousarray(tensors[name], "<f4").tobytes())
    return sha.hexdigest()


def _adapter_on(model: Model, name: str, store: Store) -> Deltas:
    """An adapter's deltas without its base: of a folder straight from its file, of a run through its chain."""
    if is_adapter_folder(name):
        return deltas.of_params(model.arch, lora.load_onto(model.arch, model.params, Path(name)))
    return found_deltas(resolve(name, store, "float32"), lengths=True)


def diff(a: str, b: str, store: Store) -> Record:
    """Two adapters of one base, weight by weight: the norms of what they add, and the cosine between them."""
    one, two = (resolve(name, store, "float32") for name in (a, b))
    _one_base(one, two)
    p, q = found_deltas(one), found_deltas(two)
    rows, sums = [], np.zeros(3)
    for module in sorted({*p, *q}, key=_by_layer):
        x, y = p.get(module), q.get(module)
        squares = np.array([deltas.inner(x, x) if x else 0.0, deltas.inner(y, y) if y else 0.0, deltas.inner(x, y) if x and y else 0.0])
        sums += squares
        rows.append({"module": module, **_norms(squares), "difference": _distance(x, y)})
    return {"a": a, "b": b, "total": _norms(sums), "weights": rows}


def _by_layer(module: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in module.split(".")]


def _norms(squares: np.ndarray) -> Record:
    """Norms of both and their cosine, from the three inner products; None where one of them adds nothing."""
    n, m = np.sqrt(np.maximum(squares[:2], 0))
    return {"norm_a": float(n), "norm_b": float(m), "cosine": float(squares[2] / (n * m)) if n and m else None}


def _distance(x: Delta | None, y: Delta | None) -> float:
    if x and y:
        return deltas.difference(x, y)
    return deltas.norm(x or y)  # type: ignore[arg-type]


def listing(store: Store, folders: Sequence[Path] = ()) -> list[Record]:
    """The adapters of the runs folder, and of the folders named."""
    roles: dict[str, list[str]] = {}
    for run in list_runs(store):
        for role, id in run.models.items():
            roles.setdefault(id, []).append(f"{run.id}:{role}")
    rows = []
    for file in sorted((store.root / "artifacts").glob("*/adapter.safetensors")):
        artifact = store.get(file.parent.name)
        chain = [link.id for link in adapters(artifact)]
        rows.append({"name": artifact.id, "roles": roles.get(artifact.id, []), "base": published_name(adapters(artifact)[0]), "on": chain[:-1], **_size(file)})
    for folder in folders:
        if not is_adapter_folder(folder):
            raise ConfigError(f"{folder} holds no adapter of Solon's", fix="import one: solon adapters import FOLDER --base MODEL OUT")
        rows.append({"name": str(folder), "roles": [], "base": base_of(folder)["base"], "on": [], **_size(folder / "adapter.safetensors")})
    return rows


def _size(file: Path) -> Record:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as opened:
        how = json.loads(opened.metadata()["lora"])
        numbers = sum(int(np.prod(opened.get_slice(name).get_shape())) for name in opened.keys())  # noqa: SIM118
    said = {name: how.get(name) for name in ("rank", "alpha", "targets")}
    said |= {"kind": how.get("kind", "lora"), "quantise": how.get("quantise", "none")}
    return {**said, "parameters": numbers, "bytes": file.stat().st_size}

