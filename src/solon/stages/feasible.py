"""What can be known to fail before anything is made: adapters too wide, templates without turns, prompts too long."""

from __future__ import annotations

from collections.abc import Sequence

from solon.constitution.store import Book
from solon.core.errors import ConfigError, DataError, nearest
from solon.core.records import Conversation, conversation
from solon.models.load import Model
from solon.stages.gather import Gathered
from solon.stages.harden import attacking
from solon.stages.recipe import Recipe
from solon.stages.sft import by_token
from solon.text.template import encode_chat, encode_training

TWO_TURNS = conversation(("user", "Hello"), ("assistant", "Good day"), ("user", "Bye"), ("assistant", "Farewell"))


def check(plan: Recipe, book: Book, model: Model, data: Gathered) -> None:
    """Raise what a stage would raise hours later. A critique or a long reply can still fill the context: those depend on
    what is sampled."""
    largest, known = min(model.arch.embed, model.arch.mlp), [one.id for one in book.principles]
    for name, fit in (("helpful", plan.helpful), ("sl", plan.sl), ("dpo", plan.dpo)):
        if fit.rank > largest:
            raise ConfigError(f"{name}.rank does not fit the model {plan.model}", got=fit.rank, expected=f"1 to {largest}")
        for principle in fit.principle_weights:
            if principle not in known:
                fix = nearest(principle, known)
                raise ConfigError(f"{name}.principle_weights names no principle of {book.name}", got=principle, fix=fix)
        by_token(fit.token_weights, model)
    pillars = {one.pillar for one in book.principles}
    for name, asked in (("revise.pillars", plan.revise.pillars), *((f"pairs.pillars.{k}", v) for k, v in plan.pairs.pillars.items())):
        for pillar in asked:
            if pillar not in pillars:
                raise ConfigError(f"{name} names no pillar of {book.name}", got=pillar, fix=nearest(pillar, pillars))
    if plan.harden.families:
        attacking(plan.harden)
    encode_training(model.tokenizer, TWO_TURNS)
    for source, rows in (
        (plan.data.demonstrations, data.demonstrations), (plan.data.red_team, data.red_team),
        (plan.data.labelled, data.labelled),
    ):  # fmt: skip
        if not rows:
            fix = "give more rows, or a held-out side from another source"
            raise DataError(f"no training row of {source} is left: all are near held-out rows", got="0 rows", fix=fix)
    held = data.held
    wanted = [
        (plan.data.red_team, data.red_team[: max(plan.revise.prompts, plan.pairs.red_team)], plan.revise.draw.max_tokens),
        (plan.data.benign, data.benign[: max(plan.answers.benign, plan.pairs.benign)], plan.answers.draw.max_tokens),
        (plan.data.helpful, data.helpful[: max(plan.answers.helpful, plan.pairs.helpful)], plan.answers.draw.max_tokens),
        (plan.data.test_red_team or plan.data.red_team, held.red_team[: plan.evaluate.red_team], plan.evaluate.draw.max_tokens),
        (plan.data.test_benign or plan.data.benign, held.benign[: plan.evaluate.benign], plan.evaluate.draw.max_tokens),
    ]
    for source, rows, room in wanted:
        _fits(model, source, [(one.id, one.prompt) for one in rows], room)
    shown = [(one.id, one.messages[:-1]) for one in held.helpful[: plan.evaluate.helpful]]
    _fits(model, plan.data.demonstrations, shown, plan.evaluate.draw.max_tokens)


def _fits(model: Model, source: str, prompts: Sequence[tuple[str, Conversation]], room: int) -> None:
    for id, prompt in prompts:
        size = len(encode_chat(model.tokenizer, prompt, add_generation_prompt=True))
        if size + room > model.arch.context:
            raise DataError(
                f"a prompt does not fit the model's context: row {id!r} of {source}", got=f"{size} tokens and {room} to make",
                expected=f"{model.arch.context} in all", fix="shorten or leave out the row, or draw fewer tokens",
            )  # fmt: skip
