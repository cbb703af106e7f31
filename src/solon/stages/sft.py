"""Supervised fine-tuning: conversations in, an adapter out. It serves the helpful model and the SL-CAI model alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from solon.core.artifacts import Artifact, Draft, Record, Store
from solon.core.errors import ConfigError
from solon.core.keys import seed_of
from solon.core.records import Conversation, as_messages
from solon.generate.score import row_logprobs
from solon.learn.objectives import sft
from solon.learn.order import order
from solon.models.load import Model
from solon.stages import _gradient_figures, _safety_readings
from solon.stages.fit import Course, Fit, fit, usable
from solon.stages.models import started_from
from solon.text.batches import batch, filled, shape_of
from solon.text.template import Tokens, encode_training, last_turns

VERSION = 2


def train(
    store: Store, name: str, config: Fit, model: Model, inputs: dict[str, str], rows: Sequence[Record], seed: int
) -> Artifact:
    """Train on rows `{"id", "messages", ...}`; `inputs` names what the rows and the model were made from."""
    from solon.core.artifacts import digest

    told = [[row["messages"], row["weight"]] if "weight" in row else row["messages"] for row in rows]
    settings = {**config.model_dump(mode="json"), "seed": seed, "rows": digest(told)}
    return store.make(name, VERSION, settings, inputs, partial(build, config, model, rows, seed))


def build(
    config: Fit, model: Model, rows: Sequence[Record], seed: int, draft: Draft, through: Callable[[Course], Course] | None = None
) -> None:  # fmt: skip
    """Train into a draft: the rows with their fates, the adapter and the history. `through` makes another course of this one, where
    the same rows are learned by another loss."""
    marked = [mark(row, config.length, model) for row in rows]
    usable(marked)
    draft.write_rows("rows", marked)
    lesson = course(config, model, marked, seed)
    lesson = through(lesson) if through else lesson
    result = fit(draft, lesson)
    draft.flops = 6.0 * draft.tokens * _parameters(model)
    last = result.history[-max(lesson.steps // 10, 1) :]
    draft.metric("training_loss", float(np.mean([row["loss"] for row in last])), n=len(last), unit="nats a token",
                 how="mean over the last tenth of the steps")  # fmt: skip
    _gradient_figures.tell(draft, result)
    _safety_readings.tell(draft, result)


def course(config: Fit, model: Model, marked: Sequence[Record], seed: int) -> Course:
    """What is trained on the rows that were not dropped."""
    kept = [row for row in marked if not row.get("dropped")]
    every = [replace(encoded(row, model), weight=config.weight_of(row)) for row in kept]
    weight_v = by_token(config.token_weights, model)
    aside = config.laid_aside([row["id"] for row in kept], seed)
    tokens = [one for place, one in enumerate(every) if place not in aside]

    def packed(rows: Sequence[Tokens]) -> list[list[Tokens]]:
        return [[rows[i] for i in group] for group in filled([[row] for row in rows], config.length, config.micro)]

    drawn = lambda epochs: packed([tokens[i] for i in order(len(tokens), epochs, seed_of("order", seed))])  # noqa: E731
    steps, apart = config.drawn(len(tokens), drawn), packed([every[i] for i in sorted(aside)])
    shape = shape_of([group for step in steps for group in step] + apart, config.length)
    learned = [row for place, row in enumerate(kept) if place not in aside]
    tasks = _gradient_figures.by_task(learned, [[row] for row in tokens], shape) if config.gradients else {}
    return Course(
        model, config, seed, len(steps), partial(sft.loss, model.arch, weight_v=weight_v, keep=config.keep, remat=config.remat),
        lambda step: [batch(group, shape) for group in steps[step]],
        [sum(len(row.ids) for group in step for row in group) for step in steps], [batch(group, shape) for group in apart],
        tasks={name: [batch([tokens[i] for i in half], shape) for half in two] for name, two in tasks.items()},
        asked=[as_messages(kept[i]["messages"])[:-1] for i in config.answered(aside)],
    )  # fmt: skip


def by_token(weights: Mapping[str, float], model: Model) -> np.ndarray | None:
    """What each token of the vocabulary counts, `[v]`; None where all count the same. Raises `ConfigError` for a text that
    is not one token of this model."""
    if not weights:
        return None
    weight_v = np.ones(model.arch.vocab, np.float32)
    for text, weight in weights.items():
        ids = model.tokenizer.encode(text)
        if len(ids) != 1:
            expected = "the text of one token, with its space: ' the'"
            raise ConfigError(f"token_weights names {text!r}", got=f"{len(ids)} tokens of this model", expected=expected)
        weight_v[ids[0]] = weight
    return weight_v


def again(made: Artifact) -> Course:
    """The course of a finished artifact, from its evidence and its rows alone."""
    settings = dict(made.evidence["config"])
    seed, _ = settings.pop("seed"), settings.pop("rows")
    return course(Fit.model_validate(settings), started_from(made), list(made.rows("rows")), seed)


def mark(row: Record, length: int, model: Model) -> Record:
    """The row with its number of tokens, or with the reason why it cannot be trained on."""
    if row.get("dropped"):
        return dict(row)
    tokens = encoded(row, model)
    if len(tokens.ids) > length:
        return {**row, "tokens": len(tokens.ids), "dropped": "longer than the training length"}
    if not any(tokens.learn[1:]):
        return {**row, "tokens": len(tokens.ids), "dropped": "nothing to learn"}
    return {**row, "tokens": len(tokens.ids)}


def encoded(row: Record, model: Model) -> Tokens:
    """The row's tokens; `"learn": n` marks rows of which only the last n assistant turns are learned."""
    tokens = encode_training(model.tokenizer, as_messages(row["messages"]))
    return last_turns(tokens, row["learn"]) if "learn" in row else tokens


def reference_loss(model: Model, conversations: Sequence[Conversation]) -> list[float]:
    """Mean -log p (nats a token) of the assistant's tokens of each conversation."""
    rows = [encode_training(model.tokenizer, one) for one in conversations]
    return [float(-logp.mean()) for logp in row_logprobs(model, rows)]


def _parameters(model: Model) -> int:
    from solon.core.weights import count
    from solon.models.architecture import spec

    return count(spec(model.arch), model.arch.sizes)
