"""Hard multiple choice of our own: questions at the level of a first degree, with the order of the options drawn by the seed."""

from __future__ import annotations

from solon.core.keys import rng
from solon.evals.asking import Card, Data, Graded, Means, Options, Read, Room, multiple_choice

VERSION = 1
FILES = ("starter:hard_choices",)
CARD = Card(
    title="Hard multiple choice, own questions",
    source="written for Solon (starter/hard_choices.md); stands where GPQA would, and is not GPQA",
    licence="Apache-2.0",
    split="all 50 questions",
    asked="the question with its options as A to D in an order drawn by the seed, then `Answer:`; the four letters are scored",
    scored="the likeliest letter; no examples are shown",
    figures={"acc": "likeliest letter"},
    slices=("domain", "topic"),
)
LETTERS = "ABCD"
DOMAIN_OF = {"mathematics": "mathematics", "computing": "coding", "humanities": "humanities"}
"""Domains of the capability table; every other topic is of `science`."""


def items(data: Data, seed: int, room: Room) -> list[Options]:
    made = []
    for one in data[FILES[0]]:
        order = [int(i) for i in rng("hard_choices", seed, one.id).permutation(len(one.choices))]
        lines = "".join(f"\n{letter}. {one.choices[i]}" for letter, i in zip(LETTERS, order, strict=True))
        made.append(
            Options(
                id=one.id,
                context=f"{one.question}{lines}\nAnswer:",
                options=tuple(LETTERS),
                right=(order.index(one.answer),),
                chance={"acc": 1 / len(order)},
                tags={"topic": one.topic, "domain": DOMAIN_OF.get(one.topic, "science")},
            )
        )
    return made


def grade(item: Options, answer: Read, means: Means) -> Graded:
    graded = multiple_choice(item, answer)
    return Graded({"acc": graded.figures["acc"]}, graded.facts)
