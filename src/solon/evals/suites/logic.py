"""Small logic puzzles, made by the seed; every answer is computed from the premises, so there is no wrong key.

Two kinds: chains of `if ... then ...`, where a statement is true, false or undecided by all truth tables; and orders of
height, where one person is asked for.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from solon.core.keys import rng
from solon.evals.asking import Card, Data, Graded, Means, Options, Read, Room, guess, multiple_choice

VERSION = 1
FILES: tuple[str, ...] = ()
EACH = 144
CARD = Card(
    title="Logic, generated",
    source="made by Solon from the seed",
    licence="Apache-2.0",
    split="144 implications and 144 orders, the right answers spread evenly; none exists before the seed is chosen",
    asked="premises, a question and `Answer:`; the answers are scored as continuations",
    scored="the likeliest answer is the one that follows from the premises",
    figures={"acc": "likeliest follows", "acc_norm": "likeliest follows, by character"},
    domain="reasoning",
    slices=("kind", "steps"),
)
FACTS = (
    "the lamp is on", "the door is open", "the kettle is hot", "the flag is up", "the bell rings", "the gate is locked",
    "the road is wet", "the shop is closed",
)  # fmt: skip
NAMES = "Ada Boris Chen Dana Emil Farah Goran Hana".split()
ANSWERS = ("True", "False", "Undecided")
Clause = tuple[tuple[int, bool], tuple[int, bool]]


def items(data: Data, seed: int, room: Room) -> list[Options]:
    implications = [_implication(number, rng("logic", seed, "implication", number)) for number in range(EACH)]
    return implications + [_order(number, rng("logic", seed, "order", number)) for number in range(EACH)]


def follows(premises: list[Clause], given: tuple[int, bool], asked: tuple[int, bool], facts: int) -> str:
    """Whether what is asked holds in every, in no, or in some of the worlds in which the premises hold."""
    held = {
        world[asked[0]] == asked[1]
        for world in product((False, True), repeat=facts)
        if world[given[0]] == given[1] and all(world[a] != va or world[b] == vb for (a, va), (b, vb) in premises)
    }
    return "Undecided" if len(held) == 2 else "True" if held == {True} else "False"


def _implication(number: int, draw: np.random.Generator) -> Options:
    """A chain of two to four steps, told in any order; drawn again until its answer is the one that is due."""
    steps, due = 2 + number % 3, ANSWERS[number // 3 % 3]
    while True:
        signs = [bool(x) for x in draw.integers(0, 2, steps + 1)]
        premises: list[Clause] = [((i, signs[i]), (i + 1, signs[i + 1])) for i in range(steps)]
        given = (int(draw.integers(steps + 1)), bool(draw.integers(2)))
        asked = (int(draw.integers(steps + 1)), bool(draw.integers(2)))
        if given[0] != asked[0] and follows(premises, given, asked, steps + 1) == due:
            break
    words = [FACTS[int(i)] for i in draw.permutation(len(FACTS))[: steps + 1]]
    told = [f"If {_told(words, a)}, then {_told(words, b)}." for a, b in premises]
    lines = [told[int(i)] for i in draw.permutation(steps)]
    context = (
        f"{' '.join(lines)} It is known that {_told(words, given)}.\n"
        f"Question: {_told(words, asked).capitalize()}. Is this true, false or undecided?\nAnswer:"
    )
    tags = {"kind": "implication", "steps": str(steps)}
    return Options(f"logic/implication/{number}", context, ANSWERS, (ANSWERS.index(due),), chance=guess(3), tags=tags)


def _told(words: list[str], literal: tuple[int, bool]) -> str:
    text = words[literal[0]]
    return text if literal[1] else f"it is not so that {text}"


def _order(number: int, draw: np.random.Generator) -> Options:
    """Four people by height, told by neighbours in any order; the tallest, the second and so on are asked in turn."""
    people = [NAMES[int(i)] for i in draw.permutation(len(NAMES))[:4]]
    told = [f"{taller} is taller than {shorter}." for taller, shorter in zip(people, people[1:], strict=False)]
    lines = [told[int(i)] for i in draw.permutation(len(told))]
    place = number % 4
    asked = ("tallest", "second tallest", "second shortest", "shortest")[place]
    options = tuple(sorted(people))
    context = f"{' '.join(lines)}\nQuestion: Who is the {asked} of the four?\nAnswer:"
    tags = {"kind": "order", "steps": str(len(told))}
    return Options(f"logic/order/{number}", context, options, (options.index(people[place]),), chance=guess(4), tags=tags)


def grade(item: Options, answer: Read, means: Means) -> Graded:
    graded = multiple_choice(item, answer)
    return Graded({name: graded.figures[name] for name in CARD.figures}, graded.facts)
