"""Reading replies: the number or word that one comes to, its answer line, its labelled parts, the passages it cites.

Numbers are compared as numbers, so `1,250`, `1250.0` and `$1,250` are one answer; words as whole words in any case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from solon.evals.uncertainty_cues import plain, right

NUMBER = re.compile(r"(?<![\w.])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]*\d)")
ANSWER_LINE = re.compile(r"^[\W_]*(?:(?:the|my|so|final) )*answer(?: is)?[\s*_`]*[:=][\s*_`]*(\S.*)$", re.IGNORECASE)
STATED = re.compile(r"\banswer(?: is| would be|:)[\s*_`:=]*([^\s.:*_`=].*)", re.IGNORECASE)
ASIDE = re.compile(r",? (?:not|than|because|since|rather|instead|while|whereas|as|for)\b|\s*\(", re.IGNORECASE)
BRACKETS = re.compile(r"\[\s*(?:passages?\s*)?(\d{1,3}(?:\s*(?:,|;|and|&)\s*\d{1,3})*)\s*\]", re.IGNORECASE)
COUNTED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen twenty"
).split()
WORDED = {word: float(value) for value, word in enumerate(COUNTED)} | {
    word: 10.0 * place
    for place, word in enumerate(("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred"), 3)
}
NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(sorted(WORDED, key=len, reverse=True))})\b")
STEP_WORDS = 3  # of a line or sentence that counts as a step
STEPS = 2  # that make a chain


def numbers(text: str) -> list[float]:
    """The numbers of a text in order. Where it has none in digits, those in words, up to twenty and the tens."""
    found = [float(one.replace(",", "").replace("−", "-")) for one in NUMBER.findall(text)]
    return found or [WORDED[one] for one in NUMBER_WORD.findall(text.lower())]


def number(text: str) -> float | None:
    """The number that a whole text is, such as `1,250`; None where it is something else."""
    return float(text.replace(",", "")) if NUMBER.fullmatch(text.strip()) else None


def gives(text: str, accepted: Sequence[str], options: Sequence[str] = ()) -> bool:
    """Whether a short text gives an accepted answer: its last number where the answer is one, else the word, and none of
    the other options beside it. What it denies or adds behind that, as in `9, not 7` or `24 for 2 people`, does not count."""
    wanted = number(accepted[0])
    if wanted is not None:
        found = numbers(_head(text)) or numbers(text)
        return bool(found) and abs(found[-1] - wanted) < 1e-6
    said = _told(text, [*accepted, *options])
    return right(said, accepted) and not right(said, _others(accepted, options))


def holds(text: str, accepted: Sequence[str]) -> bool:
    """Whether a text in running words has an accepted answer anywhere: one of its numbers, or the word."""
    wanted = number(accepted[0])
    return right(text, accepted) if wanted is None else any(abs(one - wanted) < 1e-6 for one in numbers(text))


def concludes(reply: str, accepted: Sequence[str], options: Sequence[str] = (), last: bool = True) -> bool:
    """Whether a reply of any form comes to an accepted answer. A stated answer decides; without one the last number, or
    the last sentence that names one option alone (the first one, where `last` is false: short replies begin with it)."""
    said = stated_answer(reply)
    if said is not None:
        return gives(said, accepted, options)
    if number(accepted[0]) is not None or not options:
        return gives(reply, accepted)
    told = [part for part in sentences(reply) if sum(right(_told(part, options), [one]) for one in options) == 1]
    return bool(told) and gives(told[-1 if last else 0], accepted, options)


def answer_line(reply: str) -> str | None:
    """What stands behind `Answer:` in the last line that is not blank; None where that line is no such line."""
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    found = ANSWER_LINE.match(lines[-1]) if lines else None
    return found.group(1) if found else None


def stated_answer(reply: str) -> str | None:
    """What a reply gives out as its answer, the last time that it does: behind `Answer:` or `the answer is`, to the end of
    the sentence. None where it states none."""
    found = [hit.group(1) for part in sentences(reply) if (hit := STATED.search(part))]
    return found[-1] if found else None


def has_chain(reply: str) -> bool:
    """Whether at least two sentences or lines of three words or more (numbers and signs count) lead up to the answer."""
    before = [line for line in reply.splitlines() if not ANSWER_LINE.match(line.strip())]
    return sum(len(part.split()) >= STEP_WORDS for part in sentences("\n".join(before))) >= STEPS


def parts(reply: str, names: Sequence[str]) -> dict[str, str]:
    """What a reply says behind each name at the beginning of a line, such as `a: ...`, `b) ...` or `**Final:** ...`, up to
    the next one. A name that comes twice counts the last time."""
    choice = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    marks = list(re.finditer(rf"^[^\w\n]*(?:part )?({choice})[*_`]*(?:[:.)=]|\s[-–])[*_`]*", reply, re.IGNORECASE | re.MULTILINE))
    starts = [mark.start() for mark in marks] + [len(reply)]
    known = {name.lower(): name for name in names}
    return {
        known[mark.group(1).lower()]: reply[mark.end() : end].strip()
        for mark, end in zip(marks, starts[1:], strict=True)
    }


def citations(reply: str) -> list[int]:
    """The passages that a reply cites, each once, in order: `[2]`, `[1][3]`, `[1, 3]`."""
    found = [int(one) for group in BRACKETS.findall(reply) for one in re.findall(r"\d+", group)]
    return list(dict.fromkeys(found))


def uncited(reply: str) -> str:
    """A reply without its citations, whose numbers are no answers."""
    return BRACKETS.sub(" ", reply)


def sentences(text: str) -> list[str]:
    """Sentences and lines, blank ones left out."""
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]


def _head(text: str) -> str:
    return ASIDE.split(text, maxsplit=1)[0]


def _told(text: str, words: Sequence[str]) -> str:
    """A text without its aside, if one of the words stands before that."""
    return _head(text) if right(_head(text), words) else text


def _others(accepted: Sequence[str], options: Sequence[str]) -> list[str]:
    taken = {plain(one) for one in accepted}
    return [one for one in options if plain(one) not in taken]
