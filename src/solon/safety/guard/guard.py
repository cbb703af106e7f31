"""The guard itself: four places where text is looked at, and an engine that is only heard through it.

`open_guard` puts one together from what is there; `guarded(engine, guard)` is what chat and serving call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from solon.core.artifacts import digest
from solon.core.errors import DataError, ModelError
from solon.core.records import Conversation, Message, user
from solon.safety.guard import bands, injection, tool_calls
from solon.safety.guard.bands import ASK_ALWAYS, Band, Chosen
from solon.safety.guard.cascade import Judge, Outcome, Tier, decide
from solon.safety.guard.keeping import Keep, to_file
from solon.safety.guard.refusals import INJECTION, OTHER, TOOL_CALL, UNCHECKED, alternative
from solon.safety.guard.rulings import FAIL_CLOSED, Finding, Ruling, Side, Step
from solon.safety.guard.stream import PROBE, Feed, GuardedReply, Piece
from solon.safety.guard.tool_calls import Tool

if TYPE_CHECKING:
    from solon.generate.engine import Engine
    from solon.models.load import Model
    from solon.safety.head import Head

EVERY = 16
"""Tokens of a doubtful reply between two looks of the dearer tiers."""
TURNS = 3
"""Turns of a user that are looked at together."""
LIMITS = {"probe": 10.0, "classifier": 10.0, "rules": 5.0, "critique": 30.0}
"""Seconds that each tier may take for one text. Far above what they need: they are there for what hangs."""


@dataclass
class Guard:
    """What is asked where. Tiers stand from the cheapest to the dearest; `probe` makes a running probe for one reply.

    `keep` gets the record of every ruling before it is returned, with the hash of the text and the version of the thresholds
    that decided. A ruling that cannot be kept stops the text."""

    input_tiers: tuple[Tier, ...]
    output_tiers: tuple[Tier, ...]
    retrieved_tiers: tuple[Tier, ...]
    probe: Callable[[], Feed] | None = None
    probe_band: Band = ASK_ALWAYS
    tools: Mapping[str, Tool] = field(default_factory=dict)
    every: int = EVERY
    keep: Keep = field(default_factory=to_file)
    thresholds: str = ""

    def input(self, turns: Conversation) -> Ruling:
        """May this be answered? The last turn is looked at, and if it passes, the user's last `TURNS` turns as one text: what
        harms can be spread over several."""
        outcome = decide(self.input_tiers, turns)
        said = [turn.content for turn in turns if turn.role == "user"][-TURNS:]
        if outcome.decision == "pass" and len(said) > 1:
            joined = decide(self.input_tiers, user("\n".join(said)))
            reason, steps = f"the last {len(said)} user turns together: {joined.reason}", (*outcome.steps, *joined.steps)
            outcome = replace(joined, reason=reason, steps=steps)
        return self.ruled("input", turns[-1].content, outcome)

    def output(self, turns: Conversation) -> Ruling:
        """May this whole reply, the last turn, go out?"""
        return self.ruled("output", turns[-1].content, decide(self.output_tiers, turns))

    def retrieved(self, text: str) -> Ruling:
        """May this text, found or given back by a tool, be shown to the model?"""
        outcome = decide(self.retrieved_tiers, user(text))
        try:  # the rules that fired, for whoever looks into it; the tiers have decided
            found = injection.findings(text) if outcome.decision == "stop" and outcome.decided_by != FAIL_CLOSED else ()
        except Exception:
            found = ()
        return self.ruled("retrieved", text, outcome, findings=found)

    def tool_call(self, name: Any, arguments: Any) -> Ruling:
        """May this tool be called with these arguments?"""
        said = (name, arguments)
        try:
            found = tool_calls.check(self.tools, name, arguments)
        except Exception as error:
            step = Step("allow_list", "failed", reason=type(error).__name__)
            return self.ruled("tool_call", said, Outcome("stop", FAIL_CLOSED, f"allow_list: {step.reason}", "", (step,)))
        score = max((one.weight for one in found), default=0.0)
        step = Step("allow_list", "stop" if found else "pass", score)
        reason = "; ".join(sorted({one.rule for one in found})) or "declared, and nothing speaks against it"
        return self.ruled("tool_call", said, Outcome("stop" if found else "pass", "allow_list", reason, "", (step,)), findings=found)

    def ruled(
        self, side: Side, said: Any, outcome: Outcome, findings: tuple[Finding, ...] = (), tokens: int = 0, released: int = 0
    ) -> Ruling:
        """The ruling that an outcome amounts to, once it has been kept. `said` is what was looked at; only its hash is kept."""
        category = self._category(side, outcome) if outcome.decision == "stop" else ""
        made = Ruling(
            side, outcome.decision, outcome.decided_by, outcome.reason, category, alternative(category) if category else "",
            outcome.steps, findings, tokens, released,
        )  # fmt: skip
        try:
            self.keep(made.record() | {"text": hashed(said), "thresholds": self.thresholds})
        except Exception as error:
            reason = f"the ruling could not be kept: {type(error).__name__}"
            return Ruling(side, "stop", FAIL_CLOSED, reason, UNCHECKED, alternative(UNCHECKED), outcome.steps, findings, tokens, released)
        return made

    @staticmethod
    def _category(side: Side, outcome: Outcome) -> str:
        if outcome.decided_by == FAIL_CLOSED:
            return UNCHECKED
        return {"tool_call": TOOL_CALL, "retrieved": INJECTION}.get(side) or outcome.category or OTHER

    def warm(self) -> None:
        """Ask every tier once per length without a time limit, so that no request waits for a program to be compiled."""
        for tier in (*self.input_tiers, *self.output_tiers, *self.retrieved_tiers):
            limit, tier.limit_s = tier.limit_s, None
            for words in (4, 24, 56, 110, 200):
                said = user("please " * words)
                tier.ask((*said, Message("assistant", "sure " * words)) if tier in self.output_tiers else said)
            tier.limit_s = limit


def hashed(said: Any) -> str:
    """The name of a text, or of a call's name and arguments, in the records: SHA-256, shortened."""
    return digest(ascii(said), 16)  # any text has one, half a surrogate pair too


def open_guard(
    head: str = "minilm", model: Model | None = None, probe: Head | None = None, critique: Judge | None = None,
    thresholds: Chosen | None = None, tools: Sequence[Mapping[str, Any]] = (), keep: Keep | None = None, classifier: bool = True,
    limits: Mapping[str, float] = LIMITS,
) -> Guard:  # fmt: skip
    """A guard from what is there. The classifier is loaded unless `classifier` is False; the probe is a head on the running
    `model`; `critique` scores a conversation's last turn by a principle. What is left out is missing, and the tiers before
    it decide strictly; so is a tier for which no thresholds were chosen, and a probe of another model. `limits` are the seconds that
    a tier may take, none where it is not named. Rulings go to the file of the folder of runs (`keeping.py`) unless `keep` says where else.
    Raises `ModelError` where the thresholds were chosen for another classifier."""
    from solon.safety import classifier as text_classifier
    from solon.safety.guard.tiers import by_classifier, by_probe, by_rules

    chosen = thresholds or bands.load()
    found = text_classifier.load(head) if classifier else None
    if found is not None and found.card != chosen.card:
        fix = "choose them again: solon guard measure MODEL --out FILE"
        raise ModelError("the thresholds were chosen for another classifier", got=found.card, expected=chosen.card, fix=fix)
    ours = probe is not None and probe.facts.get("digest") == chosen.probe

    def tier(side: str, name: str, judge: Judge | None) -> Tier:
        band = chosen.band(side, name)
        return Tier(name, band, judge if band != ASK_ALWAYS else None, limits.get(name))

    read = by_probe(_reader(model, probe), probe) if model is not None and probe is not None and ours else None
    judge = by_classifier(found) if found is not None else None
    return Guard(
        (tier("input", PROBE, read), tier("input", "classifier", judge), tier("input", "critique", critique)),
        (tier("output", "classifier", judge), tier("output", "critique", critique)),
        (tier("retrieved", "rules", by_rules), tier("retrieved", "critique", critique)),
        _feeds(model, probe) if ours else None, chosen.band("output", PROBE), tool_calls.allow_list(tools), EVERY, keep or to_file(), chosen.version,
    )  # fmt: skip


def _reader(model: Model, probe: Head) -> Any:
    from solon.safety.readers import ModelReader

    return ModelReader(model, int(probe.facts["settings"]["layer"]))


def _feeds(model: Model | None, probe: Head | None) -> Callable[[], Feed] | None:
    if model is None or probe is None:
        return None
    from solon.safety.stream import Watcher

    return lambda: Watcher(model, probe)


class Guarded:
    """An engine that is only heard through a guard."""

    def __init__(self, engine: Engine, guard: Guard):
        self.engine, self.guard = engine, guard

    def reply(
        self, turns: Conversation, max_tokens: int = 128, retrieved: Sequence[str] = (), key: tuple[Any, ...] = (), seed: int = 0,
        **draw: Any,
    ) -> GuardedReply:  # fmt: skip
        """A reply to a conversation. `retrieved` are the texts from outside that its turns contain: each is checked before
        anything is drawn. `draw` are the sampling settings of `Request`. Raises `DataError` where the conversation does not
        fit the model's context; what breaks later stops the reply."""
        from solon.text.template import encode_chat

        prompt = encode_chat(self.engine.tokenizer, turns, add_generation_prompt=True)
        room = min(max_tokens, self.engine.arch.context - len(prompt))
        if room < 1:
            raise DataError("the conversation does not fit the model's context", got=f"{len(prompt)} tokens", fix="say less at once")
        return GuardedReply(self.guard, turns, lambda: self._pieces(prompt, room, key, seed, draw), retrieved)

    def _pieces(self, prompt: Sequence[int], room: int, key: tuple[Any, ...], seed: int, draw: dict[str, Any]) -> Iterator[Piece]:
        from solon.generate.engine import Request
        from solon.text.tokenizer import StreamDecoder

        decoder = StreamDecoder(self.engine.tokenizer, skip_special=True)
        for ids in self.engine.stream(Request(prompt, key=key, max_tokens=room, **draw), seed=seed):
            yield ids, "".join(map(decoder.push, ids))
        yield (), decoder.finish()


def guarded(engine: Engine, guard: Guard) -> Guarded:
    """The engine behind the guard: `guarded(engine, guard).reply(turns)` yields only text that has been looked at."""
    return Guarded(engine, guard)
