"""Is the answer the same when it should be: over wordings of one request, over seeds, over the order of options?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from solon.core.keys import rng
from solon.core.records import user
from solon.evals.asking import Ask, Card, Data, Graded, Item, Means, Options, Read, Record, Room, Said
from solon.evals.overlap import agreement

VERSION = 2  # empty replies agree with nothing; refusals in unusual words are refusals
FILES = ("starter:paraphrases", "starter:multiple_choice")
CARD = Card(
    title="Consistency",
    source="Solon's starter sets: wordings of one request, and multiple-choice questions",
    licence="Apache-2.0",
    split="all of both sets",
    asked="each wording once, greedy; each first wording three times at temperature 0.7; each question in all rotations "
    "of its lettered options, scored by log-likelihood",
    scored="share of pairs of answers that agree: kind of answer (help, part, refusal, empty) for texts, the option for "
    "questions; a group of answers is one unit",
    figures={
        "paraphrase": "wordings agree in kind", "seed": "draws agree in kind", "option_order": "rotations agree in option",
        "paraphrase_words": "mean ROUGE-L between wordings",
    },
    domain="behaviour",
    targets={"paraphrase": 0.9, "seed": 0.9, "option_order": 0.9},
)  # fmt: skip
DRAWS, WARM, TOKENS = 3, 0.7, 96
LETTERS = "ABCDEFGH"


def items(data: Data, seed: int, room: Room) -> list[Item]:
    return [*_wordings(data[FILES[0]]), *_rotations(data[FILES[1]], seed)]


def _wordings(paraphrases: Sequence[Any]) -> list[Ask]:
    made = []
    for one in paraphrases:
        tags = {"group": one.id, "about": "paraphrase"}
        for number, wording in enumerate(one.prompts):
            id = f"consistency/paraphrase/{one.id}/{number}"
            made.append(Ask(id, user(wording), max_tokens=TOKENS, temperature=0.0, samples=1, tags=tags))
        id = f"consistency/seed/{one.id}"
        tags = {"group": one.id, "about": "seed"}
        made.append(Ask(id, user(one.prompts[0]), max_tokens=TOKENS, temperature=WARM, samples=DRAWS, tags=tags))
    return made


def _rotations(questions: Sequence[Any], seed: int) -> list[Options]:
    """Each question with its options begun at each place, from an order drawn by the seed."""
    made = []
    for one in questions:
        order = [int(i) for i in rng("consistency", seed, one.id).permutation(len(one.choices))]
        for turn in range(len(order)):
            turned = order[turn:] + order[:turn]
            lines = "".join(f"\n{LETTERS[place]}. {one.choices[i]}" for place, i in enumerate(turned))
            made.append(
                Options(
                    id=f"consistency/option_order/{one.id}/{turn}",
                    context=f"{one.question.strip()}{lines}\nAnswer:",
                    options=tuple(LETTERS[: len(order)]),
                    right=(turned.index(one.answer),),
                    tags={"group": one.id, "about": "option_order", "order": " ".join(map(str, turned))},
                )
            )
    return made


def grade(item: Item, answer: Read | Said, means: Means) -> Graded:
    """Single answers have no grade: what is chosen or said is kept for `gather`."""
    if isinstance(answer, Read):
        picked = max(range(len(answer.nats)), key=lambda i: answer.nats[i])
        return Graded({}, {"chosen": int(item.tags["order"].split()[picked])})
    return Graded({})


def gather(rows: Sequence[Record]) -> list[Record]:
    """One row a group: the share of its pairs that agree, and what pairs that chose blindly would give."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for row in rows:
        groups.setdefault((row["tags"]["about"], row["tags"]["group"]), []).append(row)
    made = []
    for (about, name), members in groups.items():
        figures, chance = _agreeing(about, members)
        if figures:
            made.append({"id": f"{about}/{name}", "tags": {"about": about}, "figures": figures, "chance": chance})
    return made


def _agreeing(about: str, members: Sequence[Record]) -> tuple[dict[str, float], dict[str, float]]:
    if about == "option_order":
        chosen = [row["chosen"] for row in members]
        pairs = list(combinations(chosen, 2))
        return ({about: sum(a == b for a, b in pairs) / len(pairs)} if pairs else {}), {about: 1 / len(chosen)}
    said = [(row["prompt"][-1]["content"], draw[-1]) for row in members for draw in row["replies"]]
    if len(said) < 2:
        return {}, {}
    found = agreement([reply for _, reply in said], [prompt for prompt, _ in said])
    figures = {about: found.same_type}
    return figures | ({"paraphrase_words": found.rouge_l} if about == "paraphrase" else {}), {}
