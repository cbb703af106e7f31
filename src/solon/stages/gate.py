"""The gate before Constitutional AI: the helpful model has to be more helpful than what it was trained from.

Everything after it is drawn from the helpful model, so one that learned nothing would waste the rest of the run. It is asked
how likely it finds good replies that it was not taught; the rows are of the training side, and no other stage sees them.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field

from solon.core.artifacts import Artifact, Draft, Store, digest
from solon.core.config import Config
from solon.core.errors import TrainingError
from solon.core.records import Demonstration, as_json
from solon.evals.statistics import paired_means
from solon.models.load import Model
from solon.stages.models import adapted
from solon.stages.sft import reference_loss

VERSION = 1


class Gate(Config):
    """`rows` good replies are laid aside for it, at most a fifth of those there are (fewer than 2: no gate, and the evidence says
    so); `below` says what happens if they did not become likelier."""

    rows: int = Field(24, ge=0)
    below: Literal["stop", "go_on"] = "stop"


def gate(store: Store, config: Gate, base: Model, helpful: Artifact, unseen: tuple[Demonstration, ...]) -> Artifact:
    """Loss on replies that neither model was taught, base against helpful. Raises `TrainingError` if it did not fall by more
    than chance and the recipe says to stop."""
    inputs = {"helpful": helpful.id}
    settings = {**config.model_dump(mode="json"), "rows": digest([[one.id, as_json(one.messages)] for one in unseen])}
    return store.make("gate", VERSION, settings, inputs, partial(_build, config, base, helpful, unseen))


def _build(config: Gate, base: Model, helpful: Artifact, unseen: tuple[Demonstration, ...], draft: Draft) -> None:
    if len(unseen) < 2:
        draft.facts["passed"] = None
        return
    talks = [one.messages for one in unseen]
    before, after = reference_loss(base, talks), reference_loss(adapted(helpful, work="training"), talks)
    change = paired_means(before, after, name="gate", unit="nats")
    draft.write_rows("rows", [
        {"id": one.id, "base": old, "helpful": new} for one, old, new in zip(unseen, before, after, strict=True)
    ])  # fmt: skip
    draft.metric("change_of_loss", change.difference, n=change.n, ci=[change.low, change.high], unit="nats a token",
                 how="mean loss on unseen good replies, helpful minus base")  # fmt: skip
    draft.facts["passed"] = change.high < 0
    if change.high >= 0 and config.below == "stop":
        raise TrainingError(
            "the helpful model is no more helpful than its base, so Constitutional AI would start from nothing",
            got=f"{change.difference:+.3f} nats a token ({change.low:+.3f} to {change.high:+.3f}, n {change.n})",
            expected="a fall in the loss on good replies that it has not seen",
            fix="give more or better demonstrations, train longer or at another rate, or set gate.below to go_on",
        )
