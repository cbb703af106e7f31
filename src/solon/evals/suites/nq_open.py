"""Natural Questions, open (Lee et al. 2019): real search questions answered from what the weights remember."""

from __future__ import annotations

from solon.evals.asking import Ask, Card, Data, Graded, Means, Record, Room, Said, normalised_answer, shots

VERSION = 1
FILES = ("nq_open/NQ-open.dev_a.jsonl.gz",)
SHOTS = 5
CARD = Card(
    title="Natural Questions, closed book",
    source="Lee et al. 2019, arXiv 1906.00300",
    licence="CC BY-SA 3.0",
    split="development questions whose SHA-256 is odd",
    asked="`Answer these questions:`, five answered ones drawn by the seed and never asked, then `Q: ...?\\nA:`, greedy",
    scored="the line up to a full stop or comma equals one of the references without case, punctuation and articles",
    figures={"exact": "answer equal"},
    domain="knowledge",
)


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    rows = [{**row, "id": f"nq_open/{number}"} for number, row in enumerate(data[FILES[0]])]
    shown, asked = shots(rows, SHOTS, seed, "nq_open")
    head = "Answer these questions:\n\n" + "".join(f"{question(row)} {row['answer'][0]}\n" for row in shown)
    return [
        Ask(
            row["id"], head + question(row), reference=row["answer"], max_tokens=32, stop=("\n", ".", ","),
            chance={"exact": 0.0},
        )
        for row in asked
    ]  # fmt: skip


def question(row: Record) -> str:
    return f"Q: {row['question']}?\nA:"


def grade(item: Ask, answer: Said, means: Means) -> Graded:
    said = normalised_answer(answer.text)
    return Graded({"exact": float(any(said == normalised_answer(one) for one in item.reference))})
