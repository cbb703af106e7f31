"""MT-Bench style (Zheng et al. 2023): open questions over one or more turns, graded from 1 to 10 by a judge.

Without a judge the replies are drawn and kept, and the suite says that they are not graded.
"""

from __future__ import annotations

import re
from typing import Any

from solon.core.records import Conversation, Message, user
from solon.evals.asking import Ask, Card, Data, Graded, Means, Record, Room, Said

VERSION = 1
NEEDS = ("judge",)
FOLDER = "mt_bench"
FILES = (
    f"{FOLDER}/vicuna_bench/question.jsonl",
    f"{FOLDER}/vicuna_bench/reference_answer/gpt-4.jsonl",
    f"{FOLDER}/judge_prompts.jsonl",
)
CARD = Card(
    title="MT-Bench style, the Vicuna questions",
    source="Zheng et al. 2023, arXiv 2306.05685 (FastChat llm_judge)",
    licence="Apache-2.0",
    split="the 80 Vicuna questions, which have one turn; the 80 two-turn questions are held out",
    asked="by the chat template, at the authors' temperature of the category, up to 1,024 tokens a turn",
    scored="a judge grades each turn by the authors' single-answer prompts; without a judge replies are kept ungraded",
    figures={"grade": "mean grade, 1 to 10"},
    domain="conversation",
    slices=("category",),
    numbers=("grade",),
)
TEMPERATURES = {
    "writing": 0.7, "roleplay": 0.7, "extraction": 0.0, "math": 0.0, "coding": 0.0, "reasoning": 0.0, "stem": 0.1,
    "humanities": 0.1,
}  # fmt: skip
"""FastChat's; other categories get its default of 0.7."""
NEEDS_REFERENCE = frozenset(("math", "reasoning", "coding", "arena-hard-200"))
GRADE = re.compile(r"\[\[(\d+\.?\d*)\]\]|\[(\d+\.?\d*)\]")


def items(data: Data, seed: int, room: Room) -> list[Ask]:
    """Questions with what the judge will be asked: its prompts by name, and the reference answer where there is one."""
    references = {row["question_id"]: row["choices"][0]["turns"] for row in data[FILES[1]]}
    prompts = {row["name"]: row for row in data[FILES[2]] if row["type"] == "single"}
    made = []
    for row in data[FILES[0]]:
        first, *more = row["turns"]
        made.append(
            Ask(
                id=f"mt_bench/{row['question_id']}",
                prompt=user(first),
                reference={"answers": references.get(row["question_id"]), "prompts": prompts},
                max_tokens=1024,
                more=tuple(more),
                temperature=TEMPERATURES.get(row["category"], 0.7),
                samples=1,
                tags={"category": row["category"]},
            )
        )
    return made


def grade(item: Ask, answer: Said, means: Means) -> Graded:
    """One grade a turn. A judge whose words hold no grade in 1 to 10 gives a missing value, never a zero."""
    turns = answer.draws[0]
    if means.judge is None:
        return Graded({}, missing="not graded: no judge was named")
    said = [means.judge(judge_question(item, turns[: number + 1])) for number in range(len(turns))]
    grades = [grade_in(words) for words in said]
    if any(one is None for one in grades):
        return Graded({}, {"judge": said}, missing="the judge gave no grade")
    return Graded({"grade": [one for one in grades if one is not None]}, {"judge": said})


def judge_question(item: Ask, turns: tuple[str, ...]) -> Conversation:
    """The authors' prompt for the last of these turns: with the reference answer for what can be right or wrong."""
    answers, prompts = item.reference["answers"], item.reference["prompts"]
    referenced = bool(answers) and item.tags["category"] in NEEDS_REFERENCE
    name = ("single-math-v1" if referenced else "single-v1") + ("-multi-turn" if len(turns) > 1 else "")
    asked = (item.prompt[-1].content if not isinstance(item.prompt, str) else item.prompt, *item.more)
    fields: Record = {"question": asked[0], "answer": turns[-1]}
    if referenced:
        fields["ref_answer_1"] = answers[0]
    if len(turns) > 1:
        fields |= {"question_1": asked[0], "question_2": asked[1], "answer_1": turns[0], "answer_2": turns[1]}
        if referenced:
            fields["ref_answer_2"] = answers[1]
    prompt: Any = prompts[name]
    head = (Message("system", prompt["system_prompt"]),) if prompt["system_prompt"] else ()
    return (*head, *user(prompt["prompt_template"].format(**fields)))


def grade_in(words: str) -> float | None:
    """The first `[[grade]]`, else `[grade]`, that lies in 1 to 10."""
    for double, single in GRADE.findall(words):
        value = float(double or single)
        if 1 <= value <= 10:
            return value
    return None
