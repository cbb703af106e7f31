"""What does a reply do with a request that lacks something or can be read in two ways: ask for it, say what it takes for
granted, answer for both? Rules over words, meant to be read.

They know English only and see words, not meaning. How often they agree with replies labelled by hand, those they were
written with and others that came later, is tested in `tests/evals/test_clarifying.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from solon.evals.answers import answer_type
from solon.evals.cues import any_of
from solon.evals.reading import sentences
from solon.evals.uncertainty_cues import plain, right

Way = Literal["asks", "covers", "states", "refuses", "answers", "empty"]
MET: frozenset[Way] = frozenset({"asks", "covers", "states"})
OPENING = 3  # sentences of a reply to a clear request in which asking back is looked for
ECHO = 0.9  # share of a question's words that the request has too, from which it is the request said again


SHORT = {"'ll": " will", "'m": " am", "'re": " are", "'ve": " have", "'d": " would"}


_TELL = (
    r"(?:tell|say|share|give|provide|specify|clarify|let me|confirm|explain|describe|send|paste|name|remind|elaborate|be more|"
    r"point|add|show|include|indicate|mention)"
)
ASKS = any_of(
    rf"\b(?:could|can|would|will) you (?:\w+ )?{_TELL}\b",
    rf"\b(?:please|kindly|just) (?:\w+ )?{_TELL}\b",
    r"\b(?:let|tell|send|give|show|drop|paste) (?:me|it|them|the \w+ here)\b(?! (?:help|explain|show|tell|give|start|begin|see if))",
    r"\b(?:i|we) (?:\w+ ){0,2}(?:need|have|want|like|love) to (?:know|see|understand|hear|check|ask|find out)\b",
    r"\b(?:i|we) (?:\w+ )?(?:need|lack|miss|am missing|require) (?:\w+ ){0,2}(?:more|your|the|details?|information|context|some)\b",
    r"\b(?:without (?:knowing|seeing|its|the|your|more|any|those)|unless i know|once i know|if i knew|as soon as (?:i know|you tell)|"
    r"depend(?:s|ing)? (?:on|how|which|what|whether|where|who)|makes? (?:\w+ )?(?:the|a) difference|no idea|no way (?:of|to|for))\b",
    rf"\byou (?:would|will) (?:have|need) to {_TELL}\b|\b(?:mind|care) (?:telling|sharing|saying|giving|naming|sending)\b|\bfill (?:me )?in\b",
    r"\b(?:did|do|are|were) you (?:\w+ )?(?:mean|meant|asking|referring|talking|thinking|looking)\b",
    r"\b(?:not sure|unsure|unclear|not clear|ambiguous|do not know|can not (?:tell|say|see|know))\b",
    r"\b(?:you|it|there) (?:do|did|does|have|has|is) not (?:\w+ )?(?:say|said|mention\w*|specif\w+|give|given|tell|told|state|stated|"
    r"include\w*|attach\w*|paste\w*)\b",
)
"""Asked of the user, or said to be missing, without a question mark."""
STATES = any_of(
    r"\b(?:assum\w+|presum\w+|suppos(?:e|ing)|on the assumption)\b",
    r"\bi (?:will |am going to |am |have |would |can )?(?:just |simply )?(?:tak(?:e|ing) (?:it|this|that|you|the)|treat\w*|read(?:ing)? (?:it|this|that|your)|"
    r"go(?:ing)? with|went with|interpret\w*|understand (?:it|this|that|you)|understood|guess(?:ing)?|picked|chose|imagined?)\b",
    r"\b(?:taking|reading|treating) (?:it|this|that|your \w+|the \w+) (?:to|as)\b",
    r"\b(?:if|in case|unless) (?:by \S+ )?you (?:mean|meant|are (?:asking|talking|referring|thinking|looking))\b",
    r"\b(?:as|since|because) (?:you|no|nothing|the \w+)\b[^.!?]{0,40}\bnot?\b",
    r"\b(?:provided|providing|going by|my answer is (?:about|for)|let us say|for the sake of|(?:as|only|just) an example|i (?:will )?go for)\b",
    r"\b(?:on|by|in|under) (?:the|a|an|your) (?:\w+ ){0,2}(?:reading|interpretation|understanding|sense|meaning)\b",
    r"\b(?:tell|correct) me if (?:i am wrong|that is wrong|you meant)\b",
)
"""Something is taken for granted, openly."""
EITHER = any_of(
    r"\b(?:if|whether|either|both|depending|depends|in case|while|whereas|instead)\b",
    r"\b(?:could|can|might|may) (?:also )?(?:mean|be|refer)\b",
    r"\btwo (?:meanings|ways|things|readings|senses|answers|possibilities)\b|\bon the other hand\b|\bas for\b|\bone (?:sense|meaning)\b",
)
"""Cases are told apart."""
ABSENT = any_of(
    r"\b(?:nothing|no (?:text|message|attachment|file|list|poem|sentence|paragraph|picture|code|name)) (?:\w+ ){0,2}(?:came|arrived|attached|"
    r"reached|given|included|shown|to (?:correct|shorten|fix|translate|work|go))\b",
    r"\b(?:i am|i seem to be|we are) missing\b|\bi have not (?:got|seen|received|been (?:given|told|shown))\b|\bi have only got\b",
)
"""The thing itself is said not to be there; that needs no other word for it."""
CASE = re.compile(r"\b(?:if|when|in case|for) (?:it|you|the|your|that|this)\b")
OFFERS = any_of(
    r"\b(?:anything|something|what) else\b|\bhow (?:can|may|else can) i (?:help|assist)\b|\bdoes (?:that|this) (?:help|work|make sense)\b",
    r"\bwould you like (?:me to|more|another|some|to (?:know|learn|hear|see|read) more)\b|\bwant me to\b|^(?:shall|should|may|can) i\b|\blet me know if\b",
)
"""More is offered behind an answer; nothing is asked for."""


def way(reply: str, request: str, missing: Sequence[str], readings: Sequence[Sequence[str]] = ()) -> tuple[Way, str]:
    """What a reply does with an unclear request, and the sentence that decided. `missing` are beginnings of words of which
    a question about the missing thing has one; `readings` the words of each way to read the request."""
    text = _written_out(reply)
    if answer_type("", reply).label == "empty":
        return "empty", ""
    said = sentences(text)
    every = [word for reading in readings for word in reading]
    for part in said:
        if ABSENT.search(part) or _asking(part, request) and (_has(part, missing) or len(_named(part, readings)) > 1):
            return "asks", part
    told = any(right(request, reading) for reading in readings)  # where the request names both, a reply may just repeat them
    if len(_named(text, readings)) > 1 and (EITHER.search(text) or not told):
        return "covers", text[:80]
    if sum(_has(case, missing) for case in CASE.split(text)[1:]) > 1:
        return "covers", text[:80]
    for part in said:
        if STATES.search(part) and _has(part, [*missing, *every]):
            return "states", part
    return ("refuses" if answer_type("", reply).value == 1.0 else "answers"), ""


def asks_back(reply: str, request: str) -> bool:
    """Whether a reply to a clear request begins by asking for more. What is offered behind an answer does not count."""
    opening = sentences(_written_out(reply))[:OPENING]
    return any(_asking(part, request) and not OFFERS.search(part) for part in opening)


def _written_out(reply: str) -> str:
    """`plain` text without the short forms of verbs."""
    text = plain(reply)
    for short, long in SHORT.items():
        text = text.replace(short, long)
    return text


def _asking(part: str, request: str) -> bool:
    """Whether a sentence asks the reader for something and is not the request said again."""
    if not (part.rstrip("\"')").endswith("?") or ASKS.search(part)):
        return False
    words, known = re.findall(r"\w+", part), set(re.findall(r"\w+", plain(request)))
    return sum(word in known for word in words) < ECHO * max(len(words), 1)


def _has(text: str, beginnings: Sequence[str]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(plain(one))}", text) for one in beginnings)


def _named(text: str, readings: Sequence[Sequence[str]]) -> list[int]:
    """The readings of which the text has a word."""
    return [place for place, words in enumerate(readings) if right(text, words)]
