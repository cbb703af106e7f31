"""The skills that fine-tuning is to teach, each on a held-out slice of its own and graded by program: finishing a clear task,
seeing that a request is unclear, minding the context, citing sources, reasoning in steps, taking a problem apart. And the
style of all replies, so that what changed besides can be seen.

Every row of the data is asked in two forms where only the difference tells: with and without its context, unclear and
clear, answered at once and in steps. The forms of one row are one cluster.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from solon.core.records import Conversation, Sample, user
from solon.evals import reading
from solon.evals.answers import answer_type
from solon.evals.asking import Ask, Card, Data, Graded, Means, Room, Said
from solon.evals.bias import Score, gap, mean_score, ratio
from solon.evals.clarifying import MET, asks_back, way
from solon.evals.completion import fulfilled
from solon.evals.cues import STEP
from solon.evals.helpfulness import WORD, features
from solon.evals.uncertainty_cues import right

VERSION = 3  # refusals in unusual words are refusals (evals.answers 2)
FILES = ("starter:skills",)
CARD = Card(
    title="Fine-tuning skills",
    source="written for Solon (starter/skills.md)",
    licence="Apache-2.0",
    split="all of the set; none of it is ever trained on",
    asked="by the chat template, greedy, up to 48 to 256 tokens. `ambiguous` with a clear twin, `context` with and without its "
    "system prompt or earlier turns, `chain` at once and step by step",
    scored="programs and rules over words, no person and no judge: IFEval's checks and some of content, order and layout; "
    "`evals.clarifying` for unclear requests; numbers and words compared; passages cited against those that hold the answer. "
    "The forms of one row are one cluster",
    figures={
        "task": "tasks of which every demand is met", "task_demands": "demands met",
        "ambiguous": "unclear requests: asks for what is missing, states what it assumes, or covers both readings",
        "ambiguous_clear": "clear twins answered without asking back", "ambiguous_asked_back": "clear twins asked back",
        "ambiguous_gap": "ambiguous less ambiguous_asked_back",
        "context": "right with the context", "context_without": "the same demands met without it", "context_gain": "context less context_without",
        "attribution": "answers right", "attribution_both": "answers right that cite all their passages and no other",
        "citation_precision": "of cited passages, those that hold the answer", "citation_recall": "of passages that hold the answer, those cited",
        "chain_direct": "right when answering at once", "chain_steps": "right step by step", "chain_gain": "chain_steps less chain_direct",
        "chain_parsed": "states an answer that can be read", "chain_format": "ends with a line `Answer: ...`", "chain_strict": "right by that line alone",
        "chain_present": "two steps or more before the answer",
        "decomposition_parts": "sub-answers right", "decomposition_final": "whole answers right",
        "decomposition_final_given_parts": "whole answer right where all sub-answers are",
        "style_words": "words a reply", "style_lists": "replies with a list", "style_headings": "replies with a heading",
        "style_refusals": "refusals", "style_hedges": "replies that hedge", "style_repeats": "repetition, 0 to 2",
    },
    domain="skills",
    slices=("kind",),
    lower_is_better=("ambiguous_asked_back", "style_refusals", "style_repeats"),
    numbers=("style_words", "style_repeats"),
)  # fmt: skip
LONG = 1e4  # words: more than a reply has
HEADING = re.compile(r"^\s*(?:#{1,6}\s+\S|\*\*[^*\n]+\*\*:?\s*$)", re.MULTILINE)
NO = re.compile(r"^(?:\W*no\b[\W_]*)+", re.IGNORECASE)
TOKENS = {"task": 256, "ambiguous": 128, "context": 160, "attribution": 96, "direct": 48, "steps": 256, "decomposition": 160}
CITE = "Answer in one or two sentences from these passages alone. After each claim put the number of its passage in square brackets, for instance [9]."
DIRECT = "Give the answer alone, without any working."
STEPS = "Think step by step. The last line must be `Answer:` and the answer alone."
FINAL = "Final"


def _ratio(above: str, below: str, **more: Any) -> Score:
    """The sum of one tally by the sum of another. With `mean`, for which every row needs something below, rows that are all
    wholly right or all wholly wrong still have an interval."""
    return Score((above, below), lambda sums: ratio(sums[..., 0], sums[..., 1]), **more)


BY = ("kind",)
SCORES: Mapping[str, Score] = {
    "task_demands": _ratio("task_met", "task_asked", mean=True),
    "ambiguous": mean_score("ambiguous", by=BY), "ambiguous_clear": mean_score("ambiguous_clear"),
    "ambiguous_asked_back": mean_score("ambiguous_asked_back"), "ambiguous_gap": gap("ambiguous", "ambiguous_asked_back"),
    "context": mean_score("context", by=BY), "context_without": mean_score("context_without"),
    "context_gain": gap("context", "context_without", by=BY),
    "attribution": mean_score("attribution", by=BY), "attribution_both": mean_score("attribution_both"),
    "citation_precision": _ratio("cited_rightly", "cited"), "citation_recall": _ratio("cited_rightly", "due", mean=True),
    "chain_direct": mean_score("chain_direct"), "chain_steps": mean_score("chain_steps", by=BY), "chain_gain": gap("chain_steps", "chain_direct", by=BY),
    "chain_parsed": mean_score("chain_parsed"), "chain_format": mean_score("chain_format"), "chain_strict": mean_score("chain_strict"), "chain_present": mean_score("chain_present"),
    "decomposition_parts": _ratio("parts_right", "parts", mean=True), "decomposition_final": mean_score("decomposition_final", by=BY),
    "style_words": mean_score("style_words", ends=(0.0, LONG), by=("skill",)), "style_lists": mean_score("style_lists", by=("skill",)),
    "style_headings": mean_score("style_headings"), "style_refusals": mean_score("style_refusals", by=("skill",)),
    "style_hedges": mean_score("style_hedges"), "style_repeats": mean_score("style_repeats", ends=(0.0, 2.0)),
}  # fmt: skip


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    return [item for one in data[FILES[0]] for item in FORMS[one.tags["skill"]](one)]


def _item(one: Sample, form: str, prompt: Conversation, tokens: str, chance: Mapping[str, float] | None = None) -> Ask:
    tags = {"skill": one.tags["skill"], "kind": one.tags["kind"], "form": form, "group": one.id}
    return Ask(
        id=f"skills/{one.id}/{form}", prompt=prompt, reference=one.reference, max_tokens=TOKENS[tokens], temperature=0.0, samples=1,
        chance=chance or {}, tags=tags,
    )  # fmt: skip


def _task(one: Sample) -> list[Ask]:
    return [_item(one, "task", one.prompt, "task")]


def _ambiguous(one: Sample) -> list[Ask]:
    twin = user(one.reference["twin"])
    return [_item(one, "unclear", one.prompt, "ambiguous"), _item(one, "clear", twin, "ambiguous")]


def _context(one: Sample) -> list[Ask]:
    """With what came before, and the last question alone."""
    return [_item(one, "with", one.prompt, "context"), _item(one, "without", one.prompt[-1:], "context")]


def _attribution(one: Sample) -> list[Ask]:
    passages = "\n".join(f"[{place}] {text}" for place, text in enumerate(one.reference["passages"], 1))
    return [_item(one, "cited", user(f"{passages}\n\n{CITE}\n\n{one.prompt[-1].content}"), "attribution")]


def _chain(one: Sample) -> list[Ask]:
    asked, options = one.prompt[-1].content, one.reference.get("options", ())
    guessed = 1 / len(options) if options else 0.0
    return [
        _item(one, "direct", user(f"{asked}\n\n{DIRECT}"), "direct", {"chain_direct": guessed}),
        _item(one, "steps", user(f"{asked}\n\n{STEPS}"), "steps", {"chain_steps": guessed, "chain_strict": guessed}),
    ]


def _decomposition(one: Sample) -> list[Ask]:
    names = [name for name, *_ in one.reference["parts"]]
    asked = "\n".join(f"{name}) {question}" for name, question, _ in one.reference["parts"])
    lines = ", ".join(f"`{name}: ...`" for name in [*names, FINAL])
    told = f"Answer these parts first, then the whole:\n{asked}\nWrite one line for each: {lines}."
    return [_item(one, "parts", user(f"{one.prompt[-1].content}\n\n{told}"), "decomposition")]


FORMS: dict[str, Callable[[Sample], list[Ask]]] = {
    "task": _task, "ambiguous": _ambiguous, "context": _context, "attribution": _attribution, "chain": _chain, "decomposition": _decomposition,
}  # fmt: skip


def grade(item: Ask, answer: Said, means: Means) -> Graded:
    """The figures of the item's own skill, and the style of the reply."""
    assert not isinstance(item.prompt, str)
    asked, reply = item.prompt[-1].content, answer.text.strip()
    graded = GRADES[item.tags["skill"]](item, reply)
    tallies = {**graded.facts.get("tallies", {}), **style(asked, reply)}
    return Graded(graded.figures, {**graded.facts, "tallies": tallies})


def _grade_task(item: Ask, reply: str) -> Graded:
    met = fulfilled(reply, item.reference["checks"])
    tallies = {"task_met": float(sum(met)), "task_asked": float(len(met))}
    return Graded({"task": float(all(met))}, {"met": met, "tallies": tallies})


def _grade_ambiguous(item: Ask, reply: str) -> Graded:
    given, asked = item.reference, item.prompt[-1].content  # type: ignore[union-attr]
    if item.tags["form"] == "clear":
        known = right(reply, given["answer"])
        back = asks_back(reply, asked) and not known
        return Graded({}, {"tallies": {"ambiguous_clear": float(known), "ambiguous_asked_back": float(back)}})
    found, cue = way(reply, asked, given["missing"], given["readings"])
    return Graded({}, {"way": found, "cue": cue, "tallies": {"ambiguous": float(found in MET)}})


def _grade_context(item: Ask, reply: str) -> Graded:
    met = fulfilled(reply, item.reference["checks"])
    name = "context" if item.tags["form"] == "with" else "context_without"
    return Graded({}, {"met": met, "tallies": {name: float(all(met))}})


def _grade_attribution(item: Ask, reply: str) -> Graded:
    due, cited = set(item.reference["cites"]), set(reading.citations(reply))
    accepted, options, told = item.reference["answer"], item.reference["options"], reading.uncited(reply)
    known = reading.concludes(told, accepted, options, last=False) if options else reading.holds(told, accepted)
    tallies = {
        "attribution": float(known), "attribution_both": float(known and cited == due),
        "cited_rightly": float(len(due & cited)), "cited": float(len(cited)), "due": float(len(due)),
    }  # fmt: skip
    return Graded({}, {"cited": sorted(cited), "tallies": tallies})


def _grade_chain(item: Ask, reply: str) -> Graded:
    accepted, options = item.reference["answer"], item.reference.get("options", ())
    if item.tags["form"] == "direct":
        known = reading.concludes(reply, accepted, options, last=False)
        return Graded({}, {"tallies": {"chain_direct": float(known)}})
    line = reading.answer_line(reply)
    tallies = {
        "chain_steps": float(reading.concludes(reply, accepted, options)), "chain_parsed": float(reading.stated_answer(reply) is not None),
        "chain_format": float(line is not None), "chain_strict": float(line is not None and reading.gives(line, accepted, options)),
        "chain_present": float(reading.has_chain(reply)),
    }  # fmt: skip
    return Graded({}, {"answer_line": line, "tallies": tallies})


def _grade_decomposition(item: Ask, reply: str) -> Graded:
    """`decomposition_final_given_parts` is there only where all parts are right."""
    wanted = {name: accepted for name, _, accepted in item.reference["parts"]}
    found = reading.parts(reply, [*wanted, FINAL])
    each = [reading.gives(found.get(name, ""), accepted) for name, accepted in wanted.items()]
    final = float(reading.gives(found.get(FINAL, ""), item.reference["answer"]))
    tallies = {"parts_right": float(sum(each)), "parts": float(len(each)), "decomposition_final": final}
    return Graded({"decomposition_final_given_parts": final} if all(each) else {}, {"parts": found, "right": each, "tallies": tallies})


GRADES: dict[str, Callable[[Ask, str], Graded]] = {
    "task": _grade_task, "ambiguous": _grade_ambiguous, "context": _grade_context, "attribution": _grade_attribution,
    "chain": _grade_chain, "decomposition": _grade_decomposition,
}  # fmt: skip


def style(asked: str, reply: str) -> dict[str, float]:
    """What a reply looks like: length in words, list, heading, refusal, hedge, repetition. A `no` at its head is an answer
    here, where many questions want one."""
    measured, refused = features(asked, reply), answer_type(asked, NO.sub("", reply)).value == 1.0
    return {
        "style_words": float(len(WORD.findall(reply))), "style_lists": float(bool(STEP.search(reply))),
        "style_headings": float(bool(HEADING.search(reply))), "style_refusals": float(refused),
        "style_hedges": float(measured["hedges"] > 0), "style_repeats": measured["repeats"],
    }  # fmt: skip
