"""What every training stage shares: attach an adapter, run the trainer with checkpoints in the draft, save the result."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import jax
import numpy as np
from pydantic import Field, model_validator

from solon.core.artifacts import Draft, Record
from solon.core.bits import sliceable
from solon.core.config import Config
from solon.core.errors import DataError, StorageError
from solon.core.keys import seed_of
from solon.core.quantise import quantise
from solon.core.records import Conversation
from solon.core.weights import Tree
from solon.learn import lora, trainer
from solon.learn.gradients import Gradients
from solon.learn.stopping import Stopping
from solon.models.architecture import LINEAR, spec
from solon.models.load import Model
from solon.stages._safety_readings import reader

EARLY = "early.json"
Count = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Early(Config):
    """When a training ends before its last step: the share `aside` of its rows is not trained on, and their loss is read
    every `every` steps. After `patience` readings without a fall by more than `gain` nats it is over, and the arrays of the
    lowest reading are kept. No patience means no early stopping, and then no row is laid aside.

    With `safety` so many of the prompts laid aside are answered and scored by the safety classifier at each reading: it is
    written beside the loss and decides nothing."""

    LATER: ClassVar[frozenset[str]] = frozenset({"safety"})

    patience: int = Field(0, ge=0)
    every: int = Field(50, ge=1)
    aside: float = Field(0.1, gt=0, lt=1)
    gain: float = Field(0.0, ge=0)
    safety: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _read_at_all(self) -> Early:
        if self.safety and not self.patience:
            raise ValueError("`safety` is read with the held-out loss, which no patience leaves unread; give a patience")
        return self


class Fit(Config):
    """How an adapter is trained. `batch` counts rows (or pairs) a step, `micro` how many of them are held at once.

    `ranks` gives other ranks to matrices whose name (`blocks/3/q`) matches a pattern; `quantise` is the form in which the
    frozen base is held. `kind: full` trains the weights themselves. `steps` and `warmup_steps`, where they are not 0, count
    instead of `epochs` and of `warmup`.

    A row counts by its own `weight`, where it has one, times that of its principle in `principle_weights`; in supervised
    fine-tuning a token counts by `token_weights` too, and `keep` holds the model near what it was (times KL, in nats).

    Where `gradients` is not 0, the gradient is read every so many steps (`learn/gradients.py`, `_gradient_figures.py`).
    Without `remat` every layer's inner states are kept for the backward pass: some third less to compute, and more memory
    (`solon align --plan` and `solon sweep remat=true,false` say how much).
    """

    LATER: ClassVar[frozenset[str]] = frozenset({
        "kind", "quantise", "ranks", "steps", "warmup_steps", "betas", "clip", "early", "keep", "token_weights", "principle_weights", "nll",
        "gradients", "remat",
    })  # fmt: skip

    kind: Literal["lora", "rslora", "dora", "bottleneck", "ia3", "full"] = "lora"
    quantise: Literal["none", "int8", "int4"] = "none"
    ranks: dict[str, int] = {}
    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] = LINEAR
    learning_rate: float = Field(5e-4, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)  # share of all steps
    epochs: float = Field(2.0, gt=0)
    batch: int = Field(16, ge=1)
    micro: int = Field(16, ge=1)
    length: int = Field(512, ge=16)
    decay: float = Field(0.0, ge=0)
    steps: int = Field(0, ge=0)
    warmup_steps: int = Field(0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = Field(1.0, gt=0)
    early: Early = Early()
    keep: float = Field(0.0, ge=0, allow_inf_nan=False)
    token_weights: dict[str, Count] = {}
    principle_weights: dict[str, Count] = {}
    gradients: int = Field(0, ge=0)
    remat: bool = True

    def weight_of(self, row: Record) -> float:
        """What a row counts in the loss."""
        return float(row.get("weight", 1.0)) * self.principle_weights.get(row.get("principle", ""), 1.0)

    def in_steps(self, groups: Sequence[Any]) -> list[Sequence[Any]]:
        """Micro-batches by step."""
        return [groups[i : i + self.parts] for i in range(0, len(groups), self.parts)]

    @property
    def parts(self) -> int:
        """Micro-batches a step."""
        return max(round(self.batch / self.micro), 1)

    def drawn(self, count: int, groups_of: Callable[[float], Sequence[Any]]) -> list[Sequence[Any]]:
        """Micro-batches by step of `count` rows, from a function that gives the micro-batches of so many epochs: all of
        `epochs`, or exactly `steps` whole ones, however many epochs that takes."""
        if not self.steps:
            return self.in_steps(groups_of(self.epochs))
        epochs = self.steps * max(self.batch, self.micro) / count
        while len(groups := groups_of(epochs)) <= self.steps * self.parts:  # the last group may not be full
            epochs *= 1.25
        return self.in_steps(groups[: self.steps * self.parts])

    def laid_aside(self, ids: Sequence[str], seed: int) -> set[int]:
        """Places of the rows that early stopping reads and training does not see; chosen by their names."""
        if not self.early.patience:
            return set()
        if len(ids) < 2:
            raise DataError("early stopping needs a row to read and one to train on", got=f"{len(ids)} rows", expected="2 or more")
        ranked = sorted(range(len(ids)), key=lambda i: (seed_of("aside", seed, ids[i]), i))
        return set(ranked[: min(max(round(self.early.aside * len(ids)), 1), len(ids) - 1)])

    def answered(self, aside: Iterable[int]) -> list[int]:
        """Places of the rows laid aside whose prompts are answered for the safety classifier: spread over all of them."""
        places = sorted(aside)
        count = min(self.early.safety, len(places))
        return [places[i * len(places) // count] for i in range(count)]

    @model_validator(mode="before")
    @classmethod
    def _own_targets(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "targets" not in fields and fields.get("kind") in lora.TARGETS:
            return {**fields, "targets": lora.TARGETS[fields["kind"]]}
        return fields

    def frozen(self, model: Model) -> Tree:
        """The weights that the adapter is put on."""
        return model.params if self.quantise == "none" else quantise(spec(model.arch), model.params, self.quantise)

    def attached(self, model: Model, seed: int) -> Tree:
        """The weights with a fresh adapter on them."""
        return lora.attach(
            model.arch, self.frozen(model), rank=self.rank, alpha=self.alpha, seed=seed, dropout=self.dropout,
            targets=self.targets, kind=self.kind, ranks=self.ranks,
        )  # fmt: skip

    @property
    def saved(self) -> dict[str, Any]:
        """What the adapter's file says of it."""
        said: dict[str, Any] = {"rank": self.rank, "alpha": self.alpha, "targets": list(self.targets)}
        said |= {"kind": self.kind} if self.kind != "lora" else {}
        said |= {"ranks": self.ranks} if self.ranks else {}
        return said | ({"quantise": self.quantise} if self.quantise != "none" else {})


@dataclass(frozen=True)
class Course:
    """Everything that fixes what a training comes to, so that a replay of it is the same training.

    `loss(params, batch)` sees the whole tree with its adapter; `batches(i)` gives the micro-batches of step `i`, which
    hold `tokens[i]` tokens. `aside` holds micro-batches of the rows that early stopping reads, `tasks` two batches of each
    kind of row, for the cosines between their gradients. `asked` are held-out prompts, answered at each of its readings.
    """

    model: Model
    config: Fit
    seed: int
    steps: int
    loss: Callable[[Tree, Any], Any]
    batches: Callable[[int], Sequence[Any]]
    tokens: Sequence[int]
    aside: Sequence[Any] = ()
    spike: float = trainer.Plan.spike
    tasks: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    asked: Sequence[Conversation] = ()

    @property
    def plan(self) -> trainer.Plan:
        config = self.config
        return trainer.Plan(
            steps=self.steps, learning_rate=config.learning_rate, seed=self.seed,
            warmup=config.warmup_steps or round(config.warmup * self.steps), schedule=config.schedule, decay=config.decay,
            betas=config.betas, clip=config.clip, spike=self.spike,
        )  # fmt: skip

    def run(self, folder: Path | None = None, **options: Any) -> trainer.Result:
        """Train a fresh adapter on top of the model; `options` are those of `trainer.train`."""
        config = self.config
        params = config.attached(self.model, self.seed)
        fresh, frozen = lora.adapter(params, config.targets), sliceable(lora.emptied(params, config.targets))
        del params

        def with_adapter(trained: Tree, frozen: Tree, batch: Any, key: jax.Array) -> Any:
            from solon.core.dense import with_dropout

            whole = lora.put(frozen, trained)
            return self.loss(with_dropout(whole, key) if config.dropout else whole, batch)

        stopping = self._stopping(frozen) if config.early.patience and "until" not in options else None
        gradients = Gradients(config.gradients, self.tasks) if config.gradients else None
        how = {"stopping": stopping, "gradients": gradients, **options}
        return trainer.train(with_adapter, fresh, frozen, self.batches, self.plan, folder, **how)

    def _stopping(self, frozen: Tree) -> Stopping:
        """Reads the loss of the rows laid aside, without dropout."""

        @jax.jit
        def read(trained: Tree, frozen: Tree, batch: Any) -> Any:
            total, (items, _) = self.loss(lora.put(frozen, trained), batch)
            return total, items

        def held(trained: Tree) -> float:
            seen = [read(trained, frozen, batch) for batch in self.aside]
            return sum(float(total) for total, _ in seen) / sum(float(items) for _, items in seen)

        early = self.config.early
        stopping = Stopping(held, early.every, early.patience, early.gain)
        if self.asked:
            stopping.also = reader(self.model, self.asked, lambda trained: lora.put(frozen, trained))
        return stopping


def fit(draft: Draft, course: Course) -> trainer.Result:
    """Train and write the adapter, its digest, the history, and `early.json` into the draft."""
    config, tokens = course.config, course.tokens
    with draft.progress.task("training", sum(tokens), "tok") as advance:
        result = course.run(
            draft.path / ".checkpoints", watch=Diary(draft, course.steps),
            report=lambda step, row: advance(tokens[step], f"loss {row['loss']:.3f}"),
            resumed=lambda done: advance(sum(tokens[:done]), before=True),
        )  # fmt: skip
    draft.tokens += sum(tokens[: len(result.history)])
    write_result(draft, config, result)
    return result


def write_result(draft: Draft, config: Fit, result: trainer.Result) -> None:
    """Write what a training came to: readings, those of gradients, adapter, history, and the digest of the adapter as it lies on
    the disk.

    Raises `StorageError` where that is not what was trained.
    """
    if result.readings:
        draft.write("readings.json", result.readings)
    if result.gradients:
        draft.write("gradients.json", result.gradients)
    lora.save(draft.path, result.trained, config.saved)
    draft.write("history.json", result.history)
    draft.facts["digest"] = digest(lora.stored(draft.path)[0])
    if draft.facts["digest"] != digest(result.trained):
        raise StorageError("the adapter read back is not the one that was trained", fix="look at the disk, then run the stage again")


def usable(rows: Sequence[Record]) -> None:
    """Raise where every row was dropped, and say why they were."""
    fates = Counter(row.get("dropped", "") for row in rows)
    if not fates[""]:
        got = ", ".join(f"{count} {fate}" for fate, count in fates.most_common(3)) or "no rows"
        fix = "give more rows, or look at the lengths and the cleaning rules"
        raise DataError("there is nothing to train on", got=got, expected="at least one usable row", fix=fix)


class Diary:
    """Writes into `early.json` the digest of the trained arrays after steps 1, 2, 4, 8, ... and the last."""

    def __init__(self, draft: Draft, steps: int):
        self.draft, self.steps = draft, steps
        path = draft.path / EARLY
        self.seen: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}

    def __call__(self, done: int, trained: Tree) -> None:
        if done & (done - 1) == 0 or done == self.steps:
            self.seen[str(done)] = digest(trained)
            self.draft.write(EARLY, self.seen)


def replay(course: Course, steps: int) -> tuple[list[float], dict[str, str]]:
    """Losses and digests of the first steps, trained again from scratch."""
    digests: dict[str, str] = {}
    watch = lambda done, trained: digests.update({str(done): digest(trained)})  # noqa: E731
    result = course.run(watch=watch, until=steps)
    return [row["loss"] for row in result.history], digests


def digest(tree: Any) -> str:
    """SHA-256 over all arrays of a tree, names included."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        total.update(jax.tree_util.keystr(path).encode())
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()
