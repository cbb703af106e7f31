"""One setting of a fine-tuning varied, all else equal: what each value costs and what it is worth.

The fine-tuning is a recipe's helpful stage, so a point that a run has made is found again. Every point is an artifact of its
own, trained and read; a sweep that was stopped goes on with the point at which it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from solon.constitution import store as books
from solon.core.artifacts import Artifact, Draft, Record, Store
from solon.core.errors import ConfigError, nearest
from solon.evals import statistics as stats
from solon.models.architecture import Architecture
from solon.models.load import Model
from solon.stages import models, recipe, sft
from solon.stages import rows as lessons
from solon.stages._sweep_costs import LENGTH, LINES, Step, prepared, resident_peak, speeds, timed
from solon.stages.evaluate import Held, likelihoods
from solon.stages.fit import Fit
from solon.stages.gather import gather
from solon.stages.plan import shape_of, trained_parameters
from solon.stages.recipe import Recipe
from solon.stages.sift import sift

VERSION = 1
TABLE = 2
"""The version of the table over the points: its sentences say what is left after Holm."""
RANKS = ("4", "8", "16", "32", "64")
FULL = "full"
FULL_RATE = 0.1  # of the adapters' learning rate: full fine-tuning wants one about ten times smaller
UNTRAINED = "untrained"
ROUNDS = 3


@dataclass(frozen=True)
class Point:
    """One value of the setting, as it is called in the table, and the fine-tuning that goes with it."""

    label: str
    fit: Fit


def points(path: Path | str, overrides: Sequence[str], what: str, full: bool = False, full_rate: float | None = None) -> tuple[Recipe, list[Point]]:
    """The recipe, and a point for each value of `key=v1,v2,...`, a field of its helpful stage. `rank` alone stands for
    ranks 4 to 64 and full fine-tuning; there alpha grows with the rank, so that the scale alpha / rank stays the recipe's.
    Each `kind` gets the rank at which it trains as many numbers as the recipe's own adapter, or as near as can be."""
    plan = recipe.load(path, overrides)
    key, given, text = what.partition("=")
    values = [one.strip() for one in text.split(",") if one.strip()] if given else list(RANKS if key == "rank" else ())
    if key not in Fit.model_fields:
        raise ConfigError(f"no setting of a fine-tuning is called {key!r}", fix=nearest(key, Fit.model_fields))
    if not values or len(set(values)) < len(values):
        raise ConfigError("a sweep needs values, each once", got=what, expected=f"{key}=v1,v2,...")

    def point(label: str, changes: Sequence[str]) -> Point:
        return Point(label, recipe.load(path, [*overrides, *(f"helpful.{one}" for one in changes)]).helpful)

    def changed(value: str) -> list[str]:
        scale = plan.helpful.alpha / plan.helpful.rank
        return [f"{key}={value}", *([f"alpha={scale * int(value):g}"] if key == "rank" and value.isdigit() else [])]

    found = [point(f"{key} {value}", changed(value)) for value in values]
    if key == "kind":
        found = at_budget(shape_of(plan.model), plan.helpful, found)
    if full:
        rate = full_rate or FULL_RATE * plan.helpful.learning_rate
        found.append(point(FULL, ["kind=full", f"learning_rate={rate:g}"]))
    return plan, found


def at_budget(arch: Architecture, own: Fit, found: Sequence[Point]) -> list[Point]:
    """The points with ranks (of bottlenecks: widths) that make what each trains as nearly as much as `own` does as whole numbers
    allow. LoRA and DoRA keep the scale alpha / rank; IA3 and full fine-tuning have no rank and stay what they are. Raises
    `ConfigError` where ranks go by pattern."""
    if own.ranks:
        raise ConfigError("kinds cannot be brought to one budget where ranks go by pattern", got=dict(own.ranks), fix="leave out helpful.ranks")
    budget = trained_parameters(arch, own)

    def one(point: Point) -> Point:
        fit = point.fit
        if fit.kind in ("ia3", "full"):
            return point
        first, second = (trained_parameters(arch, fit.model_copy(update={"rank": rank})) for rank in (1, 2))
        rank = min(max(1 + round((budget - first) / (second - first)), 1), arch.embed, arch.mlp)
        alpha = own.alpha * rank / own.rank if fit.kind in ("lora", "dora") else fit.alpha
        return Point(f"{point.label} rank {rank}", fit.model_copy(update={"rank": rank, "alpha": alpha}))

    return [one(point) for point in found]


def sweep(store: Store, plan: Recipe, found: Sequence[Point]) -> Artifact:
    """`table.json`: the model before training and after each point, with costs, held-out figures and paired changes."""
    book = books.load(plan.constitution)
    data, sifted = sift(store, plan, gather(plan))
    published = models.identity(plan.model)
    source = {"model": published, **{name: one.id for name, one in sifted.items()}}
    rows = lessons.lessons(plan.lessons, book, data)
    subject = _Subject(plan.model)
    read = partial(_held, store, plan, data.held, data.digests)
    trained: dict[str, Artifact] = {}
    made = {UNTRAINED: read(published, lambda: models.ready(models.base(plan.model)), None)}
    for point in found:
        with resident_peak() as peak:
            trained[point.label] = one = sft.train(store, "helpful", point.fit, subject.model, source, rows, plan.seed)
        made[point.label] = read(one.id, partial(models.adapted, one), None if one.reused else peak[0])
    settings = {"points": {point.label: point.fit.model_dump(mode="json") for point in found}, "batch": [LINES, LENGTH], "rounds": ROUNDS}
    inputs = {"model": published} | {label: one.id for label, one in made.items()}
    return store.make("sweep", TABLE, settings, inputs, partial(_table, subject, found, trained, made))


class _Subject:
    """The model to train, loaded when it is first needed."""

    def __init__(self, name: str):
        self.name = name
        self._model: Model | None = None

    @property
    def model(self) -> Model:
        if self._model is None:
            self._model = models.ready(models.base(self.name, work="training"))
        return self._model


def _held(store: Store, plan: Recipe, held: Held, digests: Any, source: str, load: Any, peak: int | None) -> Artifact:
    """What a point makes of the held-out texts."""

    def build(draft: Draft) -> None:
        draft.facts["resident_peak"] = peak
        draft.write_rows("likelihoods", likelihoods(plan.evaluate, load(), held, draft))

    sizes = {name: getattr(plan.evaluate, name) for name in ("multiple_choice", "passages", "helpful")}
    return store.make("held", VERSION, {**sizes, "seed": plan.seed, "data": digests}, {"model": source}, build)


def _table(
    subject: _Subject, found: Sequence[Point], trained: dict[str, Artifact], made: dict[str, Artifact], draft: Draft
) -> None:
    steps: dict[str, Step] = {}
    costs: dict[str, Record] = {}
    with draft.progress.task("costs", len(found), "point") as advance:
        for point in found:
            steps[point.label], costs[point.label] = prepared(subject.model, point.fit)
            advance(1, point.label)
    against = FULL if FULL in steps else found[0].label
    with draft.progress.task("speed", ROUNDS + 1, "round") as advance:
        taken = speeds(timed(steps, ROUNDS, advance), against)
    values = {label: _values(one) for label, one in made.items()}
    table: list[Record] = [{"point": UNTRAINED, "figures": _figures(UNTRAINED, values[UNTRAINED]), "artifact": made[UNTRAINED].id}]
    for point in found:
        label, cost = point.label, costs[point.label]
        history = trained[label].read("history.json")
        facts = {"seconds": trained[label].evidence["cost"]["seconds"], "steps": len(history), "training_loss": history[-1]["loss"]}
        shares = {name: cost[name] / costs[against][name] for name in ("parameters", "optimiser_bytes", "peak_bytes", "flops_per_token")}
        changes = {other: _changes(label, values[other], values[label]) for other in dict.fromkeys((UNTRAINED, against)) if other != label}
        table.append({
            "point": label, "artifact": trained[label].id, "held": made[label].id, "config": point.fit.model_dump(mode="json"),
            "costs": cost, "shares": {**shares, "seconds": taken[label]["ratio"]}, "against": against, "speed": taken[label],
            "training": facts, "resident_peak": made[label].evidence["facts"]["resident_peak"],
            "figures": _figures(label, values[label]), "changes": changes,
        })  # fmt: skip
    _adjust(table)
    for row in table:
        for name, figure in row["figures"].items():
            draft.metric(f"{row['point']} {name}", **figure)
    draft.write("table.json", table)


def _values(one: Artifact) -> dict[str, list[float]]:
    rows = list(one.rows("likelihoods"))
    return {
        "held_out_loss": [row["loss"] for row in rows if row["kind"] == "reference"],
        "passage_loss": [row["nats"] / row["tokens"] for row in rows if row["kind"] == "passage"],
        "multiple_choice": [float(row["right"]) for row in rows if row["kind"] == "multiple_choice"],
    }  # fmt: skip


def _figures(label: str, values: dict[str, list[float]]) -> dict[str, Record]:
    found = {}
    for name, many in values.items():
        share = name == "multiple_choice"
        one = stats.proportion(many) if share else stats.mean(many, name=f"{label} {name}")
        found[name] = {"value": one.value, "ci": [one.low, one.high], "n": one.n, "unit": "share" if share else "nats a token", "how": one.how}
    return found


def _changes(label: str, before: dict[str, list[float]], after: dict[str, list[float]]) -> dict[str, Record]:
    found = {}
    for name in after:
        test: Any = stats.paired_proportions if name == "multiple_choice" else stats.paired_means
        one = test(before[name], after[name], name=f"{label} {name}")
        found[name] = {"value": one.difference, "ci": [one.low, one.high], "n": one.n, "p": one.p, "test": one.test, "plain": one.plain}
    return found


def _adjust(table: Sequence[Record]) -> None:
    """Holm's correction over all comparisons of the table."""
    stats.correct([one for row in table for changes in row.get("changes", {}).values() for one in changes.values()])
