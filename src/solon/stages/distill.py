"""A smaller student learns from a teacher: from its distributions token by token, or from replies that it writes.

`logits` draws the student's distribution to the teacher's at every token of the demonstrations (Hinton et al. 2015, arXiv
1503.02531), `sequences` trains it on the teacher's own replies to their prompts (Kim and Rush 2016, arXiv 1606.07947). Both end
in an artifact with an adapter, a model like any other, and in a table of what held-out replies say before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

import jax
import numpy as np
from pydantic import Field, model_validator

from solon.core.artifacts import Artifact, Draft, Record, Store, digest
from solon.core.config import Config
from solon.core.dense import merge
from solon.core.errors import ConfigError
from solon.core.records import Demonstration, Sample
from solon.core.weights import Tree
from solon.evals import statistics as stats
from solon.generate.engine import Engine
from solon.generate.score import batches, row_logprobs
from solon.learn.objectives import distill as objective
from solon.models.architecture import Architecture
from solon.models.block import unembedding
from solon.models.load import Model
from solon.models.logprobs import states
from solon.stages import models, sft
from solon.stages import rows as lessons
from solon.stages.answers import Answers
from solon.stages.answers import shard as answered
from solon.stages.fit import Course, Fit
from solon.stages.gather import gather
from solon.stages.recipe import Data, Recipe
from solon.stages.sampling import SHARD, Draw
from solon.text.batches import Batch
from solon.text.template import Tokens, encode_training

VERSION = 1
TABLE = 2
"""The version of the comparison of both ends: its sentences say what is left after Holm."""


class Distill(Config):
    """How a student is taught. At the level `logits`, `temperature` softens both distributions and the share `hard` of the loss
    is that of the demonstrations' own tokens; at the level `sequences`, `samples` replies to each prompt are drawn as `draw` says.

    Of the demonstrations at most `rows` are used (0: all), and of the held-out ones at most `heldout` are read."""

    level: Literal["logits", "sequences"] = "logits"
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    hard: float = Field(0.0, ge=0, le=1)
    samples: int = Field(1, ge=1)
    draw: Draw = Draw(temperature=0.7, max_tokens=128)
    rows: int = Field(0, ge=0)
    heldout: int = Field(100, ge=2)
    data: Data = Data()
    fit: Fit = Fit()
    seed: int = Field(1, ge=0)

    @model_validator(mode="after")
    def _level_has_it(self) -> Distill:
        if self.level == "logits" and (self.fit.keep or self.fit.token_weights):
            raise ConfigError(
                "fit.keep and fit.token_weights belong to the loss on texts", got="level=logits", fix="leave them out, or give level=sequences"
            )
        if self.level == "sequences" and self.hard:
            raise ConfigError("hard is a share of the loss on logits", got="level=sequences", fix="leave it out, or give level=logits")
        return self


@dataclass(frozen=True)
class Party:
    """Teacher or student by name, loaded when it is needed."""

    name: str
    store: Store
    work: str

    @cached_property
    def source(self) -> str:
        return models.source(self.name, self.store)

    @cached_property
    def model(self) -> Model:
        return models.resolve(self.name, self.store, work=self.work)


def distill(store: Store, config: Distill, teacher: str, student: str) -> tuple[Artifact, Artifact]:
    """The student's artifact, whose id is the name of a model, and the artifact with `table.json`.

    Raises `ConfigError` where the student is a folder's adapter, or at the level of logits the teacher itself or a model with
    another vocabulary.
    """
    data = gather(Recipe(name="distill", model=student, data=config.data, seed=config.seed))
    rows = lessons.demonstrations(data, config.rows or len(data.demonstrations))
    wise, pupil = Party(teacher, store, "training"), Party(student, store, "training")
    inputs = {**_begun(pupil), "teacher": wise.source}
    if config.level == "logits":
        _same_words(wise, pupil)
        told = {"temperature": config.temperature, "hard": config.hard, "rows": digest(rows), "seed": config.seed}
        build = partial(_by_logits, config, wise, pupil, rows)
        made = store.make("distill", VERSION, {"level": "logits", **told, "fit": config.fit.model_dump(mode="json")}, inputs, build)
    else:
        replies = written(store, config, Party(teacher, store, "batches"), data.demonstrations[: config.rows or None])
        made = sft.train(store, "distill", config.fit, pupil.model, {**inputs, "replies": replies.id}, lessons.kept(replies), config.seed)
    held = data.held.helpful[: config.heldout]
    return made, _compared(store, config, teacher, student, made, held, data.digest_of(config.data.demonstrations))


def _begun(pupil: Party) -> dict[str, str]:
    """What the student starts from, as the inputs of its artifact."""
    kind, found = models.place_of(pupil.name, pupil.store)
    if kind == "folder":
        fix = "merge it first and name the merged model: solon adapters merge STUDENT OUT"
        raise ConfigError("a student starts from a published model or from an artifact", got=f"the adapter {found}", fix=fix)
    return {"start": found} if kind == "artifact" else {"model": pupil.source}


def _same_words(wise: Party, pupil: Party) -> None:
    if wise.source == pupil.source:
        raise ConfigError("the teacher is the student", got=wise.name, fix="name another teacher: its distributions are the student's own")
    if not _alike(wise.model, pupil.model):
        fix = "give level=sequences, which needs only texts"
        got = f"{wise.model.arch.vocab} and {pupil.model.arch.vocab} tokens"
        raise ConfigError("teacher and student have different vocabularies, so their distributions cannot be compared", got=got, fix=fix)


def _alike(a: Model, b: Model) -> bool:
    plain = [one.tokenizer.with_template(None).digest for one in (a, b)]
    return a.arch.vocab == b.arch.vocab and plain[0] == plain[1]


def _by_logits(config: Distill, wise: Party, pupil: Party, rows: Sequence[Record], draft: Draft) -> None:
    through = partial(taught, teacher=wise.model, temperature=config.temperature, hard=config.hard)
    sft.build(config.fit, pupil.model, rows, config.seed, draft, through)


def taught(course: Course, teacher: Model, temperature: float = 1.0, hard: float = 0.0) -> Course:
    """The same course with the teacher's distributions in place of the texts' own tokens, but for the share `hard`. The teacher
    reads each batch when it is its turn."""
    student, params = course.model.arch, merge(teacher.params)
    read = jax.jit(partial(objective.taught, teacher.arch))

    def loss(params: Tree, batch: objective.Taught) -> Any:
        return objective.loss(student, params, batch, teacher.arch, temperature, hard)

    aside = [read(params, one) for one in course.aside]
    return replace(course, loss=loss, batches=lambda step: [read(params, one) for one in course.batches(step)], aside=aside)


def written(store: Store, config: Distill, wise: Party, asked: Sequence[Demonstration]) -> Artifact:
    """The teacher's replies to the prompts of demonstrations, as rows for fine-tuning."""
    prompts = [Sample(one.id, one.messages[:-1]) for one in asked]
    plan = Answers(samples=config.samples, draw=config.draw)
    settings = {"samples": config.samples, "draw": config.draw.model_dump(mode="json"), "seed": config.seed}
    named = [[one.id, [[turn.role, turn.content] for turn in one.prompt]] for one in prompts]

    def build(draft: Draft) -> None:
        engine = Engine(wise.model)
        each = [(one, number) for one in prompts for number in range(config.samples)]
        with draft.progress.task("the teacher's replies", len(each) * config.draw.max_tokens, "tok") as advance:
            again = lambda part: answered(plan, engine, part, config.seed, draft, advance)  # noqa: E731
            draft.write_rows("rows", draft.in_shards("rows", each, SHARD, again))

    return store.make("teacher", VERSION, {**settings, "prompts": digest(named)}, {"model": wise.source}, build)


def _compared(
    store: Store, config: Distill, teacher: str, student: str, made: Artifact, held: Sequence[Demonstration], data: str
) -> Artifact:
    wise, before = (Party(name, store, "sampling") for name in (teacher, student))

    def build(draft: Draft) -> None:
        rows = _read(wise.model, {"before": before.model, "after": models.adapted(made)}, held, draft)
        draft.write_rows("heldout", rows)
        table = figures(rows)
        draft.write("table.json", table)
        for row in table:
            for when in ("before", "after", "change"):
                draft.metric(f"{row['figure']} {when}", unit=row["unit"], **row[when])

    settings = {"heldout": config.heldout, "seed": config.seed, "data": data}
    inputs = {"teacher": wise.source, "student": before.source, "model": made.id}
    return store.make("distillation", TABLE, settings, inputs, build)


def _read(teacher: Model, students: dict[str, Model], held: Sequence[Demonstration], draft: Draft) -> list[Record]:
    """A row for each held-out reply: its mean -log p a token (`loss`), and where the vocabularies agree the mean KL(teacher ||
    student) a token (`kl`), with the student before and after."""
    rows: list[Record] = [{"id": one.id} for one in held]
    teacher = replace(teacher, params=merge(teacher.params))
    with draft.progress.task("held-out replies", len(students), "model") as advance:
        for when, model in students.items():
            model = replace(model, params=merge(model.params))
            tokens = [encode_training(model.tokenizer, one.messages) for one in held]
            for row, logp in zip(rows, row_logprobs(model, tokens), strict=True):
                row[f"loss {when}"], row["tokens"] = float(-logp.mean()), len(logp)
            if _alike(teacher, model):
                for row, kl in zip(rows, divergences(teacher, model, tokens), strict=True):
                    row[f"kl {when}"] = float(kl.mean())
            advance(1)
    return rows


def divergences(teacher: Model, student: Model, rows: Sequence[Tokens]) -> list[np.ndarray]:
    """KL(teacher || student) in nats at each learned token of each row, in order."""
    out: list[np.ndarray] = [np.zeros(0, np.float32)] * len(rows)
    for group, packed in batches(rows, min(teacher.arch.context, student.arch.context)):
        kl = np.asarray(_apart(student.arch, student.params, packed, teacher.arch, teacher.params))
        for number, i in enumerate(group):
            out[i] = kl[(packed.weight_n > 0) & (packed.sequence_n == number)]
    return out


@partial(jax.jit, static_argnums=(0, 3))
def _apart(arch: Architecture, params: Tree, packed: Batch, of: Architecture, of_params: Tree) -> jax.Array:
    """The divergence at every scored place of a packed batch, `[n]`."""
    ours, theirs = states(arch, params, packed), states(of, of_params, packed)
    return objective.divergence(arch, unembedding(arch, params), ours, of, unembedding(of, of_params), theirs)


def figures(rows: Sequence[Record]) -> list[Record]:
    """`loss` and, where it was read, `kl`: means over held-out replies before and after, and the paired change, p after Holm."""
    table = []
    for name in ("loss", "kl"):
        if f"{name} after" not in rows[0]:
            continue
        sides = {when: [row[f"{name} {when}"] for row in rows] for when in ("before", "after")}
        found: Record = {"figure": name, "unit": "nats a token"}
        for when, values in sides.items():
            one = stats.mean(values, name=f"{name} {when}")
            found[when] = {"value": one.value, "ci": [one.low, one.high], "n": one.n, "how": one.how}
        change = stats.paired_means(sides["before"], sides["after"], name=name, unit="nats a token")
        found["change"] = {
            "value": change.difference, "ci": [change.low, change.high], "n": change.n, "how": change.test, "p": change.p, "plain": change.plain,
        }  # fmt: skip
        table.append(found)
    stats.correct([row["change"] for row in table])
    return table
