"""Needle in a haystack: one sentence with a number stands somewhere in a long text, and the number is asked for.

Pages of public-domain novels are the hay. The form of the question is that of RULER (Hsieh et al. 2024) for essays.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from solon.core.keys import rng
from solon.core.records import user
from solon.evals.asking import Ask, Card, Data, Graded, Means, Room, Said

VERSION = 1
BOOKS = (
    "Alice-s-Adventures-in-Wonderland_11", "Frankenstein_84", "Moby-Dick--Or-The-Whale_2701", "Pride-and-Prejudice_1342",
    "The-Adventures-of-Sherlock-Holmes_1661",
)  # fmt: skip
FILES = tuple(f"public_domain_books/{book}.txt.gz" for book in BOOKS)
CARD = Card(
    title="Needle in a haystack",
    source="five novels of Project Gutenberg; the question's form from RULER, arXiv 2404.06654",
    licence="public domain (USA)",
    split="haystacks and needles drawn by the seed",
    asked="by the chat template; contexts of 256 tokens and each doubling up to the model's own, needles at five depths",
    scored="the seven-digit number stands in the reply",
    figures={"found": "number found"},
    domain="long context",
    slices=("length", "depth"),
)
DEPTHS = (0, 25, 50, 75, 100)  # per cent of the haystack before the needle
EACH = 2  # needles a length and depth
SHORTEST, REPLY, MARGIN = 256, 32, 96  # tokens; MARGIN is left for the chat template's own words
THINGS = "harbour lantern orchard compass violin glacier saddle quarry almanac beacon thimble pavilion".split()
NEEDLE = "One of the special magic numbers for {thing} is: {number}."
QUESTION = (
    "Some special magic numbers are hidden within the following text. Make sure to memorize them. I will quiz you about "
    "the numbers afterwards.\n{hay}\nWhat is the special magic number for {thing} mentioned in the provided text?"
)


def lengths(context: int) -> list[int]:
    """256, 512, ... below the context, and the context itself; a context under 256 is too short for the task."""
    doublings = []
    length = SHORTEST
    while length < context:
        doublings.append(length)
        length *= 2
    return [*doublings, context] if context >= SHORTEST else []


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    sentences = [part for path in FILES for part in _sentences(data[path])]
    sizes = [room.count(f" {part}") for part in sentences]
    made = []
    for length in lengths(room.context):
        for depth in DEPTHS:
            for number in range(EACH):
                made.append(_item(sentences, sizes, length, depth, number, seed, room))
    return made


def _item(
    sentences: list[str], sizes: list[int], length: int, depth: int, number: int, seed: int, room: Room
) -> Ask:  # fmt: skip
    draw = rng("needle", seed, length, depth, number)
    thing, secret = THINGS[int(draw.integers(len(THINGS)))], str(int(draw.integers(10**6, 10**7)))
    needle = NEEDLE.format(thing=thing, number=secret)
    left = length - REPLY - MARGIN - room.count(QUESTION.format(hay=needle, thing=thing))
    start = int(draw.integers(len(sentences) // 2))
    ends, total = [], 0
    for size in sizes[start:]:
        total += size
        if total > left:
            break
        ends.append(total)
    hay = sentences[start : start + len(ends)]
    place = bisect_right(ends, depth / 100 * (ends[-1] if ends else 0))
    text = " ".join([*hay[:place], needle, *hay[place:]])
    return Ask(
        id=f"needle/{length}/{depth}/{number}",
        prompt=user(QUESTION.format(hay=text, thing=thing)),
        reference=secret,
        max_tokens=REPLY,
        chance={"found": 0.0},
        tags={"length": str(length), "depth": str(depth)},
    )


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])\s+", " ".join(text.split())) if part]


def grade(item: Ask, answer: Said, means: Means) -> Graded:
    said = answer.text.replace(",", "")
    return Graded({"found": float(re.search(rf"(?<!\d){item.reference}(?!\d)", said) is not None)})
