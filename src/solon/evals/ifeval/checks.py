"""Whether a reply follows one instruction: a yes or no for each of IFEval's 25 kinds, strictly or loosely read.

Each check is a function of the reply and of the row's own arguments. They follow the reference implementation (Apache-2.0,
google-research/instruction_following_eval, as later mended) so that figures can be compared, odd rules included; where the
reference would draw an argument at random (a "letter" that is none, such as `!`), the argument given is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from solon.core.errors import DataError, nearest
from solon.evals.ifeval.language import detect
from solon.evals.ifeval.words import capital_words, count_sentences, count_words

Arguments = Mapping[str, Any]
Check = Callable[[str, Arguments], bool]
ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
FENCES = ("```json", "```Json", "```JSON", "```")


def follows(reply: str, instruction: str, arguments: Arguments) -> bool:
    """Whether the reply follows the instruction; an empty reply follows none. Raises `DataError` for an unknown kind."""
    if instruction not in CHECKS:
        raise DataError(f"IFEval has no instruction {instruction!r}", fix=nearest(instruction, CHECKS))
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return bool(reply.strip()) and CHECKS[instruction](reply, given)
    except KeyError as error:
        raise DataError(f"an IFEval row lacks an argument of {instruction}", got=sorted(given), expected=error) from None


def follows_loosely(reply: str, instruction: str, arguments: Arguments) -> bool:
    """Whether any of eight readings follows it: whole, without its first or last line or both, each also without stars."""
    lines = reply.split("\n")
    cut = [reply, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return any(follows(one, instruction, arguments) for text in cut for one in (text, text.replace("*", "")))


def _holds(count: int, relation: str, wanted: int) -> bool:
    if relation not in ("less than", "at least"):
        raise DataError("an IFEval relation is unknown", got=relation, expected="less than, at least")
    return count < wanted if relation == "less than" else count >= wanted


def _existence(reply: str, a: Arguments) -> bool:
    return all(re.search(word, reply, re.IGNORECASE) for word in a["keywords"])


def _frequency(reply: str, a: Arguments) -> bool:
    found = re.findall(a["keyword"].strip(), reply, re.IGNORECASE)
    return _holds(len(found), a["relation"], a["frequency"])


def _forbidden(reply: str, a: Arguments) -> bool:
    return not any(re.search(rf"\b{word}\b", reply, re.IGNORECASE) for word in a["forbidden_words"])


def _letters(reply: str, a: Arguments) -> bool:
    return _holds(reply.lower().count(a["letter"].strip().lower()), a["let_relation"], a["let_frequency"])


def _language(reply: str, a: Arguments) -> bool:
    return detect(reply) in (None, a["language"])  # text without letters counts as followed, as in the reference


def _sentences(reply: str, a: Arguments) -> bool:
    return _holds(count_sentences(reply), a["relation"], a["num_sentences"])


def _words(reply: str, a: Arguments) -> bool:
    return _holds(count_words(reply), a["relation"], a["num_words"])


def _paragraphs(reply: str, a: Arguments) -> bool:
    """Parts between `***`; the outer ones may be empty, an inner one may not."""
    parts = re.split(r"\s?\*\*\*\s?", reply)
    if not all(part.strip() for part in parts[1:-1]):
        return False
    ends = {0, len(parts) - 1}
    return len(parts) - sum(not parts[place].strip() for place in ends) == a["num_paragraphs"]


def _first_word(reply: str, a: Arguments) -> bool:
    """Paragraphs lie between blank lines; the n-th is counted among all, the total among those that hold something."""
    parts = reply.split("\n\n")
    filled = sum(bool(part.strip()) for part in parts)
    place = a["nth_paragraph"]
    if place > filled or not parts[place - 1].strip():
        return False
    word = parts[place - 1].split()[0].lstrip("'").lstrip('"')
    first = re.split(r"[.,?!'\"]", word)[0].lower()
    return filled == a["num_paragraphs"] and first == a["first_word"].lower()


def _placeholders(reply: str, a: Arguments) -> bool:
    return len(re.findall(r"\[.*?\]", reply)) >= a["num_placeholders"]


def _postscript(reply: str, a: Arguments) -> bool:
    marker = a["postscript_marker"].strip()
    patterns = {"P.P.S": r"\s*p\.\s?p\.\s?s.*$", "P.S.": r"\s*p\.\s?s\..*$"}
    pattern = patterns.get(marker, r"\s*" + marker.lower() + r".*$")
    return re.search(pattern, reply.lower(), re.MULTILINE) is not None


def _bullets(reply: str, a: Arguments) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", reply, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", reply, re.MULTILINE)
    return len(stars) + len(dashes) == a["num_bullets"]


def _constrained(reply: str, a: Arguments) -> bool:
    return any(answer in reply for answer in ANSWERS)


def _highlights(reply: str, a: Arguments) -> bool:
    """`*so*` and `**so**`, each once, where there is something between the stars."""
    single = sum(bool(part.strip("*").strip()) for part in re.findall(r"\*[^\n\*]*\*", reply))
    double = re.findall(r"\*\*[^\n\*]*\*\*", reply)
    return (
        single + sum(bool(part.removeprefix("**").removesuffix("**").strip()) for part in double) >= a["num_highlights"]
    )


def _sections(reply: str, a: Arguments) -> bool:
    marks = re.split(r"\s?" + a["section_spliter"].strip() + r"\s?\d+\s?", reply)
    return len(marks) - 1 >= a["num_sections"]


def _json(reply: str, a: Arguments) -> bool:
    text = reply.strip()
    for fence in FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except ValueError:
        return False
    return True


def _title(reply: str, a: Arguments) -> bool:
    return any(part.lstrip("<").rstrip(">").strip() for part in re.findall(r"<<[^\n]+>>", reply))


def _two(reply: str, a: Arguments) -> bool:
    """Two different answers with six stars between; only the outermost parts may be empty."""
    parts = reply.split("******")
    if not all(part.strip() for part in parts[1:-1]):
        return False
    filled = [part.strip() for part in parts if part.strip()]
    return len(filled) == 2 and filled[0] != filled[1]


def _repeats(reply: str, a: Arguments) -> bool:
    return reply.strip().lower().startswith(a["prompt_to_repeat"].strip().lower())


def _ends(reply: str, a: Arguments) -> bool:
    return reply.strip().strip('"').lower().endswith(a["end_phrase"].strip().lower())


def _capital_words(reply: str, a: Arguments) -> bool:
    return _holds(capital_words(reply), a["capital_relation"], a["capital_frequency"])


def _capitals(reply: str, a: Arguments) -> bool:
    return reply.isupper() and detect(reply) in (None, "en")


def _lower(reply: str, a: Arguments) -> bool:
    return reply.islower() and detect(reply) in (None, "en")


def _no_comma(reply: str, a: Arguments) -> bool:
    return "," not in reply


def _quoted(reply: str, a: Arguments) -> bool:
    text = reply.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


CHECKS: dict[str, Check] = {
    "keywords:existence": _existence,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letters,
    "language:response_language": _language,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two,
    "combination:repeat_prompt": _repeats,
    "startend:end_checker": _ends,
    "startend:quotation": _quoted,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": _capitals,
    "change_case:english_lowercase": _lower,
    "punctuation:no_comma": _no_comma,
}


def verdicts(reply: str, instructions: Sequence[str], arguments: Sequence[Arguments]) -> tuple[list[bool], list[bool]]:
    """One yes or no an instruction: strict, and loose."""
    asked = list(zip(instructions, arguments, strict=True))
    return [follows(reply, *one) for one in asked], [follows_loosely(reply, *one) for one in asked]
