"""BIG-bench hard (Suzgun et al. 2022): tasks on which models of their day lost to people, with worked reasoning."""

from __future__ import annotations

import re

from solon.evals.asking import Ask, Card, Data, Graded, Means, Room, Said

VERSION = 1
TASKS = (
    "boolean_expressions causal_judgement date_understanding disambiguation_qa multistep_arithmetic_two navigate "
    "object_counting sports_understanding web_of_lies word_sorting"
).split()
FILES = (
    *(f"bigbench_hard/{task}.json.gz" for task in TASKS),
    *(f"bigbench_hard/cot-prompts/{task}.txt" for task in TASKS),
)
CARD = Card(
    title="BIG-bench hard, ten tasks",
    source="Suzgun et al. 2022, arXiv 2210.09261",
    licence="MIT",
    split="ten of the 23 tasks, all their rows",
    asked="the authors' three worked examples, then `Q: ...\\nA: Let's think step by step.`, greedy, 512 tokens",
    scored="what follows `the answer is`, without the last character, equals the target (lm-eval's reading)",
    figures={"exact": "answer equal"},
    domain="reasoning",
    slices=("task",),
)
ANSWER = re.compile(r"(?<=the answer is )(.*)(?=.)")
TWO_WAY = frozenset(("boolean_expressions", "causal_judgement", "navigate", "sports_understanding", "web_of_lies"))


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    """Rows of all tasks; the canary line of each prompt file is not part of the prompt."""
    made = []
    for task in TASKS:
        head = data[f"bigbench_hard/cot-prompts/{task}.txt"].split("-----\n", 1)[-1].strip()
        for number, row in enumerate(data[f"bigbench_hard/{task}.json.gz"][0]["examples"]):
            made.append(
                Ask(
                    id=f"bbh/{task}/{number}",
                    prompt=f"{head}\n\nQ: {row['input']}\nA: Let's think step by step.\n",
                    reference=row["target"],
                    max_tokens=512,
                    stop=("</s>", "Q", "\n\n"),
                    chance={"exact": guess_of(task, row["input"])},
                    tags={"task": task},
                )
            )
    return made


def guess_of(task: str, question: str) -> float:
    """One over the number of lettered options; a half where the answer is yes or no; nothing where it is written out."""
    options = len(re.findall(r"^\([A-Z]\) ", question, re.MULTILINE))
    return 1 / options if options else 0.5 if task in TWO_WAY else 0.0


def grade(item: Ask, answer: Said, means: Means) -> Graded:
    found = ANSWER.search(answer.text)
    said = found.group(1) if found else "[invalid]"
    return Graded({"exact": float(said == item.reference)}, {"answer": said})
