"""Direct preference optimisation on soft AI labels, on top of the SL-CAI model, which is also the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from solon.core.artifacts import Artifact, Draft, Record, Store
from solon.core.keys import seed_of
from solon.core.records import Message, as_messages
from solon.core.weights import Tree
from solon.generate.score import row_logprobs
from solon.learn.objectives import dpo as objective
from solon.learn.order import order
from solon.models.load import Model
from solon.stages import _gradient_figures, _safety_readings
from solon.stages.feedback import LESS_SURE
from solon.stages.fit import Course, Fit, fit, usable
from solon.stages.models import adapted, started_from
from solon.text.batches import Shape, batch, filled, shape_of
from solon.text.template import Tokens, encode_training, last_turns

VERSION = 3


class Dpo(Fit):
    """`beta` is the strength of the pull towards the reference; pairs whose label is nearer to one half than `margin`
    say nothing and are left out. `nll` keeps the better reply likely, in which DPO alone has no interest."""

    beta: float = Field(0.1, gt=0)
    margin: float = Field(0.05, ge=0, lt=0.5)
    nll: float = Field(0.0, ge=0, allow_inf_nan=False)
    learning_rate: float = Field(2e-4, gt=0)
    epochs: float = Field(2.0, gt=0)

    @model_validator(mode="after")
    def _of_pairs(self) -> Dpo:
        if self.keep or self.token_weights:
            raise ValueError("`keep` and `token_weights` belong to supervised fine-tuning; here `beta` holds the model back")
        return self


def dpo(store: Store, config: Dpo, start: Artifact, labels: Artifact, seed: int) -> Artifact:
    """An adapter on top of `start`, trained on the labelled pairs."""
    settings = {**config.model_dump(mode="json"), "seed": seed}
    inputs = {"start": start.id, "labels": labels.id}
    return store.make("dpo", VERSION, settings, inputs, partial(_build, config, start, labels, seed))


def _build(config: Dpo, start: Artifact, labels: Artifact, seed: int, draft: Draft) -> None:
    model = adapted(start, work="training")
    rows = [_fated(config, model, row) for row in labels.rows("rows") if row.get("dropped") != LESS_SURE]
    usable(rows)
    draft.write_rows("rows", rows)
    lesson = course(config, model, rows, seed, draft.progress)
    result = fit(draft, lesson)
    last = [row for row in result.history if "accuracy" in row][-max(lesson.steps // 10, 1) :]
    if last:
        draft.metric("agreement_with_labels", float(np.mean([row["accuracy"] for row in last])), n=draft.kept,
                     unit="share", how="implied reward against label, last tenth of the steps")  # fmt: skip
    _gradient_figures.tell(draft, result)
    _safety_readings.tell(draft, result)


def course(config: Dpo, model: Model, rows: Sequence[Record], seed: int, progress: Any) -> Course:
    """What is trained on the pairs that were not dropped; the model as it is now is the reference."""
    model = replace(model, params=config.frozen(model))
    kept = [row for row in rows if not row.get("dropped")]
    replies = [encoded(model, row, side) for row in kept for side in ("first", "second")]
    with progress.task("reference", sum(len(one.ids) for one in replies), "tok") as advance:
        reference = np.array([x.sum() for x in row_logprobs(model, replies, advance)], np.float32)
    weight = np.array([config.weight_of(row) for row in kept], np.float32)
    p_first = np.array([row["p_first"] for row in kept], np.float32)
    rows_of = lambda group: [replies[2 * pair + side] for pair in group for side in (0, 1)]  # noqa: E731
    aside = config.laid_aside([row["id"] for row in kept], seed)
    seen = [i for i in range(len(kept)) if i not in aside]

    def packed(pairs: Sequence[int]) -> list[list[int]]:
        return [[pairs[i] for i in group] for group in filled([rows_of([i]) for i in pairs], config.length, config.micro)]

    drawn = lambda epochs: packed([seen[i] for i in order(len(seen), epochs, seed_of("order", seed))])  # noqa: E731
    steps, apart = config.drawn(len(seen), drawn), packed(sorted(aside))
    shape = shape_of([rows_of(group) for step in steps for group in step] + [rows_of(group) for group in apart], config.length)
    arrays = lambda group: _pairs(group, rows_of(group), shape, p_first, weight, reference)  # noqa: E731
    tasks = _gradient_figures.by_task([kept[i] for i in seen], [rows_of([i]) for i in seen], shape) if config.gradients else {}

    def loss(params: Tree, pairs: objective.Pairs) -> object:
        return objective.loss(model.arch, params, pairs, config.beta, config.nll, config.remat)

    return Course(
        model, config, seed, len(steps), loss,
        lambda step: [arrays(group) for group in steps[step]],
        [sum(len(one.ids) for group in step for one in rows_of(group)) for step in steps], [arrays(group) for group in apart],
        tasks={name: [arrays([seen[i] for i in half]) for half in two] for name, two in tasks.items()},
        asked=[as_messages(kept[i]["prompt"]) for i in config.answered(aside)],
    )  # fmt: skip


def again(made: Artifact, progress: Any) -> Course:
    """The course of a finished artifact, from its evidence and its rows alone."""
    settings = dict(made.evidence["config"])
    seed = settings.pop("seed")
    return course(Dpo.model_validate(settings), started_from(made), list(made.rows("rows")), seed, progress)


def _fated(config: Dpo, model: Model, row: Record) -> Record:
    """The row, or the reason why it is not trained on."""
    if row.get("dropped"):
        return row
    if abs(row["p_first"] - 0.5) < config.margin:
        return {**row, "dropped": "the judge sees no difference"}
    if max(len(encoded(model, row, side).ids) for side in ("first", "second")) > config.length:
        return {**row, "dropped": "longer than the training length"}
    return row


def encoded(model: Model, row: Record, side: str) -> Tokens:
    """Prompt and one reply; only the reply's tokens count."""
    return last_turns(encode_training(model.tokenizer, (*as_messages(row["prompt"]), Message("assistant", row[side]))))


def _pairs(
    group: Sequence[int], rows: Sequence[Tokens], shape: Shape, p_first: np.ndarray, weight: np.ndarray,
    reference: np.ndarray,
) -> objective.Pairs:  # fmt: skip
    spare = shape.rows // 2 - len(group)
    sides = [2 * pair + side for pair in group for side in (0, 1)]
    return objective.Pairs(
        batch(rows, shape), np.pad(p_first[list(group)], (0, spare), constant_values=0.5),
        np.pad(weight[list(group)], (0, spare)), np.pad(reference[sides], (0, 2 * spare)),
    )  # fmt: skip
