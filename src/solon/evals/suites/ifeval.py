"""IFEval (Zhou et al. 2023): instructions whose following a program can check, such as a word count or an ending."""

from __future__ import annotations

from solon.core.records import user
from solon.evals.asking import Ask, Card, Data, Graded, Means, Room, Said
from solon.evals.ifeval.checks import verdicts

VERSION = 1
FILES = ("ifeval/input_data_dev.jsonl.gz",)
CARD = Card(
    title="IFEval",
    source="Zhou et al. 2023, arXiv 2311.07911",
    licence="Apache-2.0",
    split="even rows (270 of 541)",
    asked="by the chat template, greedy, up to 1,280 tokens",
    scored="all instructions of a prompt followed, and the share of instructions followed; loose: also by a reading "
    "without stars, first or last line",
    figures={
        "prompt_strict": "prompts followed", "instruction_strict": "instructions followed",
        "prompt_loose": "prompts followed, loosely", "instruction_loose": "instructions followed, loosely",
    },
    domain="language",
    slices=("kind",),
)  # fmt: skip


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    return [
        Ask(
            id=f"ifeval/{row['key']}",
            prompt=user(row["prompt"]),
            reference={"instructions": row["instruction_id_list"], "arguments": row["kwargs"]},
            max_tokens=1280,
            tags={"kind": row["instruction_id_list"][0].split(":")[0]},
        )
        for row in data[FILES[0]]
    ]


def grade(item: Ask, answer: Said, means: Means) -> Graded:
    strict, loose = verdicts(answer.text, item.reference["instructions"], item.reference["arguments"])
    figures: dict[str, float | list[float]] = {
        "prompt_strict": float(all(strict)), "instruction_strict": [float(one) for one in strict],
        "prompt_loose": float(all(loose)), "instruction_loose": [float(one) for one in loose],
    }  # fmt: skip
    return Graded(figures, {"instructions": item.reference["instructions"]})
