"""The other readings of a text: what stands in it once its disguises are taken off.

An instruction in base64, a Caesar shift, Morse code or invisible characters is none to a filter that reads letters. Each
reading is a guess that is kept only if it looks like language, and every one is looked at beside the text itself. The whole
text is searched. Where there is more than the budget allows, nothing is left out: the text is refused.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from urllib.parse import unquote

from solon.core.errors import DataError

LONGEST = 100_000
"""Characters of the longest text that is read."""
READINGS = 32
"""Other readings that one text may have. Each is looked at by every judge; a text with more of them is not read at all."""
LOOKALIKES = str.maketrans(
    "аеорсухіјѕԁԛԝһАВЕКМНОРСТХІЈЅαορνιΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "aeopcyxijsdqwhABEKMHOPCTXIJSaopviABEZHIKMNOPTYX"
)
"""Cyrillic and Greek letters that look like Latin ones."""
COMMON = frozenset(
    "the and you that to of is it in for on with this are not all now your previous instructions ignore system say what how do "
    "from tell me as an be or no".split()
)
LATIN = re.compile(r"[A-Za-z]+")
MORSE = {
    ".-": "a", "-...": "b", "-.-.": "c", "-..": "d", ".": "e", "..-.": "f", "--.": "g", "....": "h", "..": "i", ".---": "j",
    "-.-": "k", ".-..": "l", "--": "m", "-.": "n", "---": "o", ".--.": "p", "--.-": "q", ".-.": "r", "...": "s", "-": "t",
    "..-": "u", "...-": "v", ".--": "w", "-..-": "x", "-.--": "y", "--..": "z",
}  # fmt: skip


def plain(text: str) -> str:
    """The text in one form of Unicode, without characters that nobody sees, look-alike letters made Latin ones."""
    shown = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) not in ("Cf", "Cn", "Co"))
    mixed = any("a" <= c.lower() <= "z" for c in shown)
    return shown.translate(LOOKALIKES) if mixed else shown


def hidden(text: str) -> str:
    """What is written in the invisible tag characters of Unicode (U+E0020 to U+E007E)."""
    return "".join(chr(ord(c) - 0xE0000) for c in text if 0xE0020 <= ord(c) <= 0xE007E)


def zero_width(text: str) -> int:
    """How many zero-width or direction-changing characters there are, beside those that emoji and scripts need."""
    return sum(c in "\u200b\u2060\ufeff\u202a\u202b\u202d\u202e\u2066\u2067\u2068" for c in text)


def bounded(text: str) -> str:
    """The text itself. Raises `DataError` for one of more than `LONGEST` characters."""
    if len(text) > LONGEST:
        raise DataError("a text is too long to be looked at", got=len(text), expected=LONGEST)
    return text


def readings(text: str) -> list[str]:
    """The text without disguise first, then all others that look like language; no two are alike. Raises `DataError` for a
    text of more than `LONGEST` characters, or of more than `READINGS` others."""
    out = dict.fromkeys([plain(bounded(text))])
    for found in _decoded(text):
        if found.strip():
            out.setdefault(plain(found))
        if len(out) > READINGS + 1:
            raise DataError("a text holds more encoded pieces than are looked at", got=f"more than {READINGS}", expected=READINGS)
    return list(out)


def _decoded(text: str) -> Iterator[str]:
    yield hidden(text)
    if "&" in text and (unescaped := html.unescape(text)) != text:
        yield unescaped
    if "%" in text and (unquoted := unquote(text)) != text:
        yield unquoted
    for match in re.finditer(r"[A-Za-z0-9+/_-]{16,}={0,2}", text):
        yield from _kept(_base64(match[0]))
    for match in re.finditer(r"(?:[0-9A-Fa-f]{2}[ ,:]?){8,}", text):
        yield from _kept(_hex(match[0]))
    for match in re.finditer(r"(?<!\S)(?:[.\-]{1,4}[ ]+(?:/[ ]*)?){6,}[.\-]{1,4}", text):
        yield "".join(" " if code == "/" else MORSE.get(code, "") for code in match[0].replace("/", " / ").split())
    for found in zip(*map(_shifted, re.split(r"(?<=[.!?:])\s+|\n+", text)), strict=True):
        yield "\n".join(one for one in found if one)


def _kept(found: str) -> Iterator[str]:
    if found and language(found) >= 0.2:
        yield found


def _base64(chunk: str) -> str:
    body = chunk.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4)).decode("utf-8")
    except (binascii.Error, ValueError):
        return ""


def _hex(chunk: str) -> str:
    try:
        return bytes.fromhex(re.sub(r"[ ,:]", "", chunk)).decode("utf-8")
    except ValueError:
        return ""


def _shifted(sentence: str) -> tuple[str, str]:
    """The sentence read backwards, and shifted in the alphabet: each if it is language then and the sentence is none."""
    words = LATIN.findall(sentence)
    if len(words) < 4 or language(sentence) >= 0.12:
        return "", ""
    back = sentence[::-1]
    best = max((caesar(sentence, by) for by in range(1, 26)), key=language)
    return back if language(back) >= 0.2 else "", best if language(best) >= 0.2 else ""


def caesar(text: str, by: int) -> str:
    """Every Latin letter moved on by so many places."""
    return text.translate(_moved(by))


@cache
def _moved(by: int) -> dict[int, int]:
    lower, upper = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return str.maketrans(lower + upper, lower[by:] + lower[:by] + upper[by:] + upper[:by])


def language(text: str) -> float:
    """The share of the words that are among the commonest of English: about 0.3 in prose, near 0 in a code."""
    words = [word.lower() for word in LATIN.findall(text)]
    return sum(word in COMMON for word in words) / len(words) if words else 0.0
