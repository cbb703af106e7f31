"""Tidying a sampled critique or revision, and saying why one must not be used.

Small models write turn marks, headings and second turns, copy what they were shown, and answer the wrong request. What
can be repaired is repaired; for the rest a reason is given, which the row keeps, so that drops can be counted by reason.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Literal

from solon.constitution.store import Book, Principle

LONGEST = 300  # words
SAME = 0.85  # share of matching characters from which two texts count as the same
REPEATS = 0.5  # share of distinct word triples below which a text goes round in circles
ENOUGH = 24  # words from which repetition can be told

_WORDS = r"(?:critique|criticism|revision|rewrite|reply|response|answer|version)"
_MARK = re.compile(r"^\s*(?:<\|?[a-z_]+\|?>\s*|(?:assistant|user|human|system|ai)\s*(?::\s*|\n+))+", re.IGNORECASE)
_HEADING = re.compile(
    rf"^[\s#*_]*(?:(?:here(?:'s| is)|this is)\s+(?:the|my|a|an)\s+(?:revised|rewritten|improved|updated|new)\b[^:\n]{{0,40}}"
    rf"|(?:my\s+)?(?:revised|rewritten|improved|updated|new|final|last)?\s*{_WORDS})[*_]*\s*:[*_]*\s*",
    re.IGNORECASE,
)
_NEXT_TURN = re.compile(
    r"<\|?(?:im_start|im_end|endoftext|eot_id|start_of_turn|end_of_turn)\|?>"
    r"|\n\s*[*#]*(?:user|human|assistant|critique ?request|revision ?request)[*]*\s*:",
    re.IGNORECASE,
)
_REVISION_HEADING = re.compile(
    r"\n[\s#*_]*(?:revision|(?:revised|rewritten) (?:reply|response|answer))[*_]*\s*:[*_]*\s*", re.I
)
# A critique speaks about a reply, in the third person; a revision is one.
_ABOUT_A_REPLY = re.compile(
    r"^(?:the|my|your|this|that) (?:last |first |previous |original |revised )?(?:reply|response) (?:\w+ )?"
    r"(?:is (?:harm|wrong|fine|good|correct|safe|not)|does|doesn't|do not|should|could|gives|helps|encourages|agrees|contains|"
    r"offers|answers|explains|plays|suggests|lacks|fails|provides)|^(?:there is )?nothing is wrong|^nothing wrong",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "“": "”", "'": "'", "«": "»"}


def clean(
    text: str,
    book: Book | None = None,
    principle: Principle | None = None,
    part: Literal["critique", "revision"] = "revision",
    finish: Literal["stop", "length"] = "stop",
    longest: int = LONGEST,
) -> tuple[str, str | None]:
    """The tidied text and, if the row must be dropped, why. Book and principle make copies of them recognisable."""
    tidied = _tidied(text, part)
    return tidied, _why_dropped(tidied, book, principle, part, finish, longest)


def _tidied(text: str, part: str) -> str:
    text = text.replace("\r\n", "\n").strip()
    later = _REVISION_HEADING.search(text)
    if later:
        text = text[later.end() :] if part == "revision" else text[: later.start()]
    before = None
    while before != text:
        before = text
        text = _unquoted(_HEADING.sub("", _MARK.sub("", text)).strip())
    following = _NEXT_TURN.search(text)
    return _unquoted((text[: following.start()] if following else text).strip())


def _unquoted(text: str) -> str:
    """Without quotation marks around the whole; those of a quotation inside stay."""
    close = _QUOTES.get(text[:1])
    if len(text) > 1 and close and text.endswith(close) and close not in text[1:-1]:
        return text[1:-1].strip()
    return text


def _why_dropped(
    text: str, book: Book | None, principle: Principle | None, part: str, finish: str, longest: int
) -> str | None:
    words = text.split()
    if not re.search(r"\w", text):
        return "empty"
    if finish == "length":
        return "unfinished"
    if len(words) > longest:
        return "too long"
    if principle and any(_repeats(text, asked) for asked in (principle.critique_request, principle.revision_request)):
        return "repeats the request"
    if book and _is_copied(text, book):
        return "copies a transcript"
    if _goes_round(text, words):
        return "repeats itself"
    if part == "revision" and _ABOUT_A_REPLY.match(text):
        return "a critique instead of a revision"
    return None


def _repeats(text: str, request: str) -> bool:
    text, request = _bare(text), _bare(request)
    if request in text or text.split()[:4] == request.split()[:4]:
        return True
    return SequenceMatcher(None, text[: 2 * len(request)], request, autojunk=False).ratio() >= SAME


def _is_copied(text: str, book: Book) -> bool:
    text = _bare(text)
    shown = [_bare(words) for one in book.transcripts for words in (one.reply, one.critique, one.revision)]
    # A long stretch of a transcript with a few words around it is a copy as well.
    return any(text == words or (len(words) > 40 and words in text) for words in shown)


def _goes_round(text: str, words: list[str]) -> bool:
    """Degenerate repetition: one character, one line or the same few words again and again."""
    if re.search(r"([^\s.\-=_*#])\1{9,}", text) or re.search(r"\b(\w+)(?:\W+\1\b){4,}", text, re.IGNORECASE):
        return True
    lines = [line.strip().lower() for line in re.split(r"\n|(?<=[.!?])\s", text) if len(line.split()) > 3]
    if lines and max(map(lines.count, lines)) >= 3:
        return True
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return len(words) >= ENOUGH and len(set(triples)) / len(triples) < REPEATS


def _bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
