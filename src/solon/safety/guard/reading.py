"""The other readings of a text: what stands in it once its disguises are taken off.

An instruction in base64, a Caesar shift, Morse code or invisible characters is none to a filter that reads letters. Each
reading is a guess that is kept only if it looks like language, and every one is looked at beside the text itself.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

LONGEST = 20_000
"""Characters in which disguises are looked for."""
READINGS = 8
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


def readings(text: str) -> list[str]:
    """The text without disguise first, then at most `READINGS` others that look like language; no two are alike."""
    short = text[:LONGEST]
    out = dict.fromkeys([plain(text)])
    for found in _decoded(short):
        if len(out) > READINGS:
            break
        if found.strip():
            out.setdefault(plain(found))
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
    for sentence in re.split(r"(?<=[.!?:])\s+|\n+", text)[:200]:
        yield from _shifted(sentence)


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


def _shifted(sentence: str) -> Iterator[str]:
    """The sentence read backwards or shifted in the alphabet, if that is language and the sentence is none."""
    words = LATIN.findall(sentence)
    if len(words) < 4 or language(sentence) >= 0.12:
        return
    back = sentence[::-1]
    best = max((caesar(sentence, by) for by in range(1, 26)), key=language)
    yield from (one for one in (back, best) if language(one) >= 0.2)


def caesar(text: str, by: int) -> str:
    """Every Latin letter moved on by so many places."""
    lower, upper = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return text.translate(str.maketrans(lower + upper, lower[by:] + lower[:by] + upper[by:] + upper[:by]))


def language(text: str) -> float:
    """The share of the words that are among the commonest of English: about 0.3 in prose, near 0 in a code."""
    words = [word.lower() for word in LATIN.findall(text)]
    return sum(word in COMMON for word in words) / len(words) if words else 0.0
