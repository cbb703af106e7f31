"""What a recipe's trainings will hold in memory, from shapes alone: no weight is loaded and no array is made.

Bytes of weights, adapters, gradients and optimiser follow from the shapes and from the table that says where each axis lies on
a mesh. What the gradient needs besides (activations) is XLA's own analysis of the compiled step of a micro-batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from solon.core.artifacts import Record
from solon.core.bits import sliceable
from solon.core.errors import ConfigError, MissingError
from solon.core.mesh import mesh, placed
from solon.core.quantise import quantise
from solon.core.weights import Tree, Weight, count, is_weight
from solon.evals.statistics import detectable
from solon.learn import lora, trainer
from solon.learn.objectives import sft
from solon.models.architecture import Architecture, spec
from solon.models.load import family
from solon.models.shapes import PUBLISHED
from solon.models.shapes import published as architecture
from solon.stages.evidence import commands
from solon.stages.fit import Fit
from solon.stages.harden import attacking
from solon.stages.power import CHANGED
from solon.stages.recipe import Recipe
from solon.stages.redteam import RedTeam
from solon.text.batches import Batch

USUAL: Mapping[str, tuple[float, float]] = {
    "rank": (16, 32), "alpha": (32, 64), "dropout": (0.1, 0.1), "learning_rate": (1e-4, 5e-4), "batch": (64, 256),
    "steps": (2000, 8000), "warmup_steps": (500, 500), "decay": (0.01, 0.01), "clip": (1.0, 1.0),
}  # fmt: skip
"""Ranges of the original specification for Gemma 7B; a recipe outside of them is told so, not refused."""

TOSS = 0.5
"""The standard deviation of a win or loss, at most."""


def plan(recipe: Recipe, data: int = 1, model: int = 1) -> Record:
    """Bytes a device of each training of a recipe, on a mesh of `data * model` devices, and where its settings leave the
    specification's ranges. Raises `ConfigError` where the process has fewer devices."""
    devices = data * model
    if len(jax.devices()) < devices:
        fix = f"start a process with that many (solon align RECIPE --plan --devices {devices})"
        raise ConfigError("there are too few devices to plan for", got=len(jax.devices()), expected=devices, fix=fix)
    arch = shape_of(recipe.model)
    where = mesh(data, model)
    chains = {"helpful": [recipe.helpful]}
    chains["sl"] = [*(chains["helpful"] if recipe.sl_from == "helpful" else []), recipe.sl]
    chains["dpo"] = [*chains["sl"], recipe.dpo]
    stages: list[Record] = []
    known: dict[str, Record] = {}
    for name, chain in chains.items():
        key = str([fit.model_dump(exclude={"beta", "margin", "learning_rate", "schedule"}) for fit in chain])
        if key not in known:
            known[key] = held(arch, chain, where)
        stages.append({"stage": name, **known[key], "remarks": remarks(chain[-1])})
    return {
        "model": recipe.model, "parameters": count(spec(arch), arch.sizes), "devices": devices,
        "mesh": {"data": data, "model": model}, "stages": stages, "asked_for": asked_for(recipe),
        "detectable": effects(recipe),
    }  # fmt: skip


def effects(recipe: Recipe) -> list[Record]:
    """The smallest change from base to aligned that each figure's test finds in four of five runs, by the recipe's own counts: shares
    for each of `CHANGED` (nobody knows before how many answers change), a win rate as far from one half. Where the held-out side has
    fewer rows than the recipe asks for, it is larger."""
    asked, attempts = recipe.evaluate, recipe.evidence.redteam
    counts = {"harmful compliance": asked.red_team, "over-refusal": asked.benign, "attack success": round(attempts * RedTeam().even)}
    rows = [{"figure": name, "n": n, "points": {f"{share:g}": detectable(n, discordant=share) for share in CHANGED}} for name, n in counts.items() if n]
    return [*rows, {"figure": "win rate", "n": asked.helpful, "points": {"": detectable(asked.helpful, sd=TOSS)}}]


def asked_for(recipe: Recipe) -> list[str]:
    """What a recipe does beyond the method itself, a line each; evidence as the commands that would make it."""
    sift, told = recipe.sift, []
    if sift.bar:
        told.append(f"sift: rows of {', '.join(sift.sources)} with harm above {sift.bar:g} are not trained on")
    if recipe.harden.attempts:
        told.append(f"harden: {recipe.harden.attempts} attacks by {len(attacking(recipe.harden))} families on the helpful model; what works is trained on")
    if recipe.evaluate.harm:
        told.append("evaluate: the safety classifier scores each reply")
    return told + [f"evidence: {one}" for one in commands(recipe.evidence, "RUN")]


def shape_of(name: str) -> Architecture:
    """The architecture of a model by name: a published configuration (an instruct model has its base model's), or what the
    files say that are here."""
    known = name.rsplit("/", 1)[-1].removesuffix("-instruct").removesuffix("-it")
    if known in PUBLISHED:
        return architecture(known)
    from solon.models.formats import read
    from solon.models.hub import CATALOGUE, cached, locate

    if name in CATALOGUE and not cached(name):
        raise MissingError(f"{name} is not here, and its shapes are not published in Solon", fix=f"solon models pull {name}")
    config = read(locate(name)).config
    return family(config["model_type"]).architecture(config)


def held(arch: Architecture, chain: list[Fit], where: Mesh) -> Record:
    """Bytes a device of one training on top of frozen adapters: `total` is the peak of the step that makes the gradient."""
    params = jax.eval_shape(partial(_attached, arch, chain), _base(arch))
    places = placed(spec(arch), params, where)
    fit = chain[-1]
    trained, spots = (lora.adapter(tree, fit.targets) for tree in (params, places))
    weights, own = _bytes(params, places), _bytes(trained, spots)
    state = jax.eval_shape(trainer.optimiser(trainer.Plan(steps=10, learning_rate=1e-4, decay=fit.decay)).init, trained)
    moments = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) / max(sum(x.size * 4 for x in jax.tree.leaves(trained)), 1)
    lines, length = max(fit.micro, where.shape["data"]), fit.length
    temporary = _compiled(arch, fit, params, places, where, lines).memory_analysis().temp_size_in_bytes
    parts = {
        "weights": weights - own, "trained": own, "gradients": own, "optimiser": round(own * moments),
        "activations": int(temporary),
    }  # fmt: skip
    return {
        "trained_parameters": sum(x.size for x in jax.tree.leaves(trained)), "micro_batch": [lines, length],
        "micro_batches": fit.parts, "bytes": parts, "total": sum(parts.values()),
    }  # fmt: skip


def trained_parameters(arch: Architecture, fit: Fit) -> int:
    """How many numbers a fine-tuning trains."""
    params = jax.eval_shape(partial(_attached, arch, [fit]), _base(arch))
    return sum(x.size for x in jax.tree.leaves(lora.adapter(params, fit.targets)))


def _base(arch: Architecture) -> Tree:
    """The published weights' shapes as they are loaded for training: matrices in bfloat16, vectors in float32."""

    def one(w: Weight) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(w.shape(arch.sizes), jnp.bfloat16 if w.ins else jnp.float32)

    return jax.tree.map(one, spec(arch), is_leaf=is_weight)


def _attached(arch: Architecture, chain: list[Fit], params: Tree) -> Tree:
    for fit in chain:
        params = params if fit.quantise == "none" else quantise(spec(arch), params, fit.quantise)
        params = lora.attach(
            arch, params, rank=fit.rank, alpha=fit.alpha, seed=0, dropout=fit.dropout, targets=fit.targets, kind=fit.kind, ranks=fit.ranks,
        )  # fmt: skip
    return params


def _bytes(tree: Tree, places: Tree) -> int:
    """What one device holds of these shapes."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(places), strict=True)
    total = 0
    for x, place in pairs:
        numbers = 1
        for axis in place.shard_shape(x.shape):
            numbers *= axis
        total += numbers * x.dtype.itemsize
    return total


def _compiled(arch: Architecture, fit: Fit, params: Tree, places: Tree, where: Mesh, lines: int) -> Any:
    """The gradient of one micro-batch, compiled for the mesh and not run."""
    shaped = jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), params, places)
    trained, frozen = lora.adapter(shaped, fit.targets), sliceable(lora.emptied(shaped, fit.targets))

    def gradient(trained: Tree, frozen: Tree, batch: Batch) -> Any:
        return jax.value_and_grad(lambda t: sft.loss(arch, lora.put(frozen, t), batch, remat=fit.remat)[0])(trained)

    out = (None, jax.tree.map(lambda x: x.sharding, trained))
    program = jax.jit(gradient, out_shardings=out).lower(trained, frozen, _batch(lines, fit.length, where))
    # What is asked is how buffers are laid out, so the code itself need not be good.
    quickly: dict[str, str | bool] = {"xla_backend_optimization_level": "0", "xla_llvm_disable_expensive_passes": True}
    return program.compile(quickly)


def _batch(lines: int, length: int, where: Mesh) -> Batch:
    """Shapes of a packed batch of which every token is learned, its lines spread over `data`."""

    def array(dtype: Any, *shape: int, axes: tuple[str | None, ...] = ()) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(where, PartitionSpec(*axes)))

    axes = ("data",) if lines % where.shape["data"] == 0 else ()
    tokens, segments, positions = (array(jnp.int32, lines, length, axes=axes) for _ in range(3))
    place, target, sequence = (array(jnp.int32, lines * length) for _ in range(3))
    return Batch(tokens, segments, positions, place, target, sequence, array(jnp.float32, lines * length), array(jnp.int32, lines))


def remarks(fit: Fit) -> list[str]:
    """The settings that lie outside the specification's ranges."""
    told = []
    for name, (low, high) in USUAL.items():
        value = getattr(fit, name)
        if name == "steps" and not value:
            continue  # the epochs decide
        if not low <= value <= high:
            usual = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            told.append(f"{name} {value:g}, specification {usual}")
    return told if fit.early.patience else [*told, "no early stopping"]


def outside(recipe: Recipe) -> list[str]:
    """The trainings of a recipe whose settings leave the specification's ranges."""
    return [name for name in ("helpful", "sl", "dpo") if remarks(getattr(recipe, name))]
