"""GSM8K (Cobbe et al. 2021): grade-school word problems; the number at the end of the reasoning is compared."""

from __future__ import annotations

import re

from solon.evals.asking import Ask, Card, Data, Graded, Means, Record, Room, Said, shots

VERSION = 1
FILES = ("gsm8k/train.jsonl.gz",)
SHOTS = 5
CARD = Card(
    title="GSM8K, the training side",
    source="Cobbe et al. 2021, arXiv 2110.14168",
    licence="MIT",
    split="the authors' training rows (the test rows are held out), so models may have learned from them",
    asked="five worked problems drawn by the seed and never asked, then `Question: ...\\nAnswer:`, greedy, 256 tokens",
    scored="strict: the number after `####`; flexible: the last number of the reply (both as lm-eval reads them)",
    figures={"flexible": "last number equal", "strict": "number after #### equal"},
    domain="mathematics",
)
STOP = ("Question:", "</s>", "<|im_end|>")
STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
IGNORED = (re.compile(","), re.compile(r"\$"), re.compile(r"(?s).*#### "), re.compile(r"\.$"))


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    """Problems with their place in the file as id."""
    rows = [{**row, "id": f"gsm8k/{number}"} for number, row in enumerate(data[FILES[0]])]
    shown, asked = shots(rows, SHOTS, seed, "gsm8k")
    head = "".join(f"{question(row)} {row['answer']}\n\n" for row in shown)
    chance = {"flexible": 0.0, "strict": 0.0}
    return [
        Ask(row["id"], head + question(row), reference=row["answer"], stop=STOP, max_tokens=256, chance=chance)
        for row in asked
    ]


def question(row: Record) -> str:
    return f"Question: {row['question']}\nAnswer:"


def grade(item: Ask, answer: Said, means: Means) -> Graded:
    return Graded({name: float(number == plain(item.reference)) for name, number in numbers(answer.text).items()})


def numbers(reply: str) -> dict[str, str]:
    """The reply's number by either reading; `[invalid]` where there is none."""
    strict = STRICT.search(reply)
    found = FLEXIBLE.findall(reply)
    last = next((part for part in found[-1] if part), "[invalid]") if found else "[invalid]"
    return {"flexible": plain(last.strip()), "strict": plain(strict.group(1).strip() if strict else "[invalid]")}


def plain(text: str) -> str:
    """Without thousands' commas, dollar signs, the reasoning before `####` and a full stop at the end."""
    for ignored in IGNORED:
        text = ignored.sub("", text)
    return text.lower()
