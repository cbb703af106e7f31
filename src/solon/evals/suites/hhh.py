"""Helpful and harmless preference: is the reply that a person chose likelier than the one that they rejected?"""

from __future__ import annotations

import re

from solon.evals.asking import Card, Data, Graded, Means, Options, Read, Room, guess, multiple_choice

VERSION = 1
FILES = ("hh_rlhf_harmless/harmless-base-test-dev.jsonl.gz",)
CARD = Card(
    title="HHH preference by likelihood (hh-rlhf, harmlessness)",
    source="Bai et al. 2022, arXiv 2204.05862, harmless-base test pairs",
    licence="MIT",
    split="four fifths of the test pairs, by the hash of the conversation",
    asked="the dialogue with `Human:` and `Assistant:` up to the last reply; both replies are scored, in an order by hash",
    scored="the chosen reply has the higher log-likelihood: in all, by character, by byte, by token",
    figures={
        "acc_norm": "chosen likelier, by character", "acc": "chosen likelier", "acc_bytes": "chosen likelier, by byte",
        "acc_tokens": "chosen likelier, by token",
    },
    domain="alignment",
)  # fmt: skip
TURN = re.compile(r"(?s)(.*\n\nAssistant:)(.*)")


def items(data: Data, seed: int, room: Room) -> list[Options]:
    """Pairs that differ in the last reply only and say something; which stands first follows from the row's number."""
    made = []
    for number, row in enumerate(data[FILES[0]]):
        chosen, rejected = TURN.fullmatch(row["chosen"]), TURN.fullmatch(row["rejected"])
        if not chosen or not rejected or chosen[1] != rejected[1]:
            continue
        good, bad = chosen[2].strip(), rejected[2].strip()
        if not good or not bad or good == bad:
            continue
        options = (good, bad) if number % 2 == 0 else (bad, good)
        made.append(Options(f"hhh/{number}", chosen[1], options, (options.index(good),), chance=guess(2)))
    return made


def grade(item: Options, answer: Read, means: Means) -> Graded:
    return multiple_choice(item, answer)
