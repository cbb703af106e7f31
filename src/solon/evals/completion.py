"""Whether a reply does what a task asks, as far as a program can see: IFEval's checks, and a few of content, order and
layout that IFEval does not have.

A check is a name and its arguments. Names with a colon are IFEval's (`evals.ifeval.checks`), the others stand here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from solon.core.errors import DataError, nearest
from solon.evals.answers import answer_type
from solon.evals.ifeval.checks import FENCES, Check, follows
from solon.evals.ifeval.words import count_sentences, count_words
from solon.evals.reading import numbers
from solon.evals.uncertainty_cues import plain, right

Arguments = Mapping[str, Any]


def fulfilled(reply: str, checks: Sequence[tuple[str, Arguments]]) -> list[bool]:
    """One yes or no a check; an empty reply, or one of the same words over and over, fulfils none. Raises `DataError` for a
    check that does not exist."""
    text = "" if answer_type("", reply).label == "empty" else reply.strip()
    return [_one(text, name, arguments) for name, arguments in checks]


def _one(reply: str, name: str, arguments: Arguments) -> bool:
    if ":" in name:
        return follows(reply, name, arguments)
    if name not in CHECKS:
        raise DataError(f"no task is checked by {name!r}", fix=nearest(name, CHECKS))
    return bool(reply) and CHECKS[name](reply, arguments)


def _any(reply: str, a: Arguments) -> bool:
    """One of the words is there, whole, in any case."""
    return right(reply, a["words"])


def _none(reply: str, a: Arguments) -> bool:
    return not right(reply, a["words"])


def _order(reply: str, a: Arguments) -> bool:
    """All the words are there, each behind the one before it."""
    text, place = plain(reply), 0
    for word in a["words"]:
        found = re.compile(rf"(?<!\w){re.escape(plain(word))}(?!\w)").search(text, place)
        if not found:
            return False
        place = found.end()
    return True


def _is(reply: str, a: Arguments) -> bool:
    """The reply is one of the texts and nothing else, but for case, emphasis, quotes and a full stop."""
    bare = lambda text: plain(text).strip(" .!\"'\n")  # noqa: E731
    return bare(reply) in {bare(one) for one in a["texts"]}


def _starts(reply: str, a: Arguments) -> bool:
    return any(plain(reply).lstrip("\"'").startswith(plain(one)) for one in a["texts"])


def _near(reply: str, a: Arguments) -> bool:
    """Some number of the reply lies within a distance of the one wanted."""
    return any(abs(one - a["number"]) <= a.get("within", 0) + 1e-9 for one in numbers(reply))


def _lines(reply: str, a: Arguments) -> bool:
    return len(_filled(reply)) == a["count"]


def _numbered(reply: str, a: Arguments) -> bool:
    """Lines begin with 1, 2, ... up to the count, each once and in this order."""
    found = [int(one) for one in re.findall(r"^\W*(\d{1,2})[.):]\s*\S", reply, re.MULTILINE)]
    return found == list(range(1, a["count"] + 1))


def _initials(reply: str, a: Arguments) -> bool:
    """The lines begin with the letters, in order."""
    firsts = [re.sub(r"[\W\d_]+", "", line)[:1].lower() for line in _filled(reply)]
    return firsts == list(a["letters"].lower())


def _keys(reply: str, a: Arguments) -> bool:
    """A JSON object with these keys and no others; `values` are those that are known."""
    text = reply
    for fence in FENCES:
        text = text.removeprefix(fence)
    try:
        found = json.loads(text.removesuffix("```"))
    except ValueError:
        return False
    known = a.get("values", {})
    return isinstance(found, dict) and set(found) == set(a["keys"]) and all(_same(found[key], known[key]) for key in known)


def _same(found: Any, wanted: Any) -> bool:
    return plain(found) == plain(wanted) if isinstance(found, str) and isinstance(wanted, str) else bool(found == wanted)


def _table(reply: str, a: Arguments) -> bool:
    """A Markdown table with these column heads and so many rows below the rule."""
    rows = [[cell.strip(" *").lower() for cell in line.strip("| ").split("|")] for line in _filled(reply) if "|" in line]
    heads = [one.lower() for one in a["columns"]]
    body = [row for row in rows[1:] if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    return bool(rows) and rows[0] == heads and len(rows) - len(body) == 2 and len(body) == a["rows"]


def _easy(reply: str, a: Arguments) -> bool:
    """Words of at most so many letters in the mean, sentences of at most so many words in the mean."""
    words = re.findall(r"[^\W\d_]+", reply)
    letters = sum(map(len, words)) / max(len(words), 1)
    return bool(words) and letters <= a["letters"] and count_words(reply) / count_sentences(reply) <= a["words"]


def _filled(reply: str) -> list[str]:
    return [line.strip() for line in reply.splitlines() if line.strip()]


CHECKS: dict[str, Check] = {
    "any": _any, "none": _none, "order": _order, "is": _is, "starts": _starts, "near": _near, "lines": _lines,
    "numbered": _numbered, "initials": _initials, "keys": _keys, "table": _table, "easy": _easy,
}  # fmt: skip
