"""Bits a byte on whole paragraphs of public-domain novels: how well a model knows literary English."""

from __future__ import annotations

import math

from solon.core.keys import rng
from solon.evals.asking import Card, Data, Graded, Means, Options, Read, Room

VERSION = 1
BOOKS = (
    "Alice-s-Adventures-in-Wonderland_11", "Frankenstein_84", "Moby-Dick--Or-The-Whale_2701", "Pride-and-Prejudice_1342",
    "The-Adventures-of-Sherlock-Holmes_1661",
)  # fmt: skip
FILES = tuple(f"public_domain_books/{book}.txt.gz" for book in BOOKS)
EACH, SHORTEST, LONGEST = 60, 600, 1200  # passages a book, and their length in characters
CARD = Card(
    title="Literary English",
    source="five novels of Project Gutenberg",
    licence="public domain (USA)",
    split="60 paragraphs of each book drawn by the seed; widely printed books, which any model has met",
    asked="a paragraph of 600 to 1,200 characters, scored whole from its first token",
    scored="bits a UTF-8 byte: the mean over paragraphs; lower is better",
    figures={"bits_per_byte": "bits a byte"},
    domain="language",
    slices=("book",),
    lower_is_better=("bits_per_byte",),
    numbers=("bits_per_byte",),
)


def items(data: Data, seed: int, room: Room) -> list[Options]:
    made = []
    for book, path in zip(BOOKS, FILES, strict=True):
        paragraphs = [" ".join(part.split()) for part in data[path].split("\n\n")]
        fitting = [number for number, text in enumerate(paragraphs) if SHORTEST <= len(text) <= LONGEST]
        drawn = rng("literature", seed, book).permutation(len(fitting))[:EACH]
        for place in sorted(int(one) for one in drawn):
            number = fitting[place]
            tags = {"book": book.rsplit("_", 1)[0]}
            made.append(Options(f"literature/{book}/{number}", "", (paragraphs[number],), (0,), delimiter="", tags=tags))
    return made


def grade(item: Options, answer: Read, means: Means) -> Graded:
    return Graded({"bits_per_byte": -answer.nats[0] / math.log(2) / len(item.options[0].encode())})
