"""MMLU (Hendrycks et al. 2021): four-way questions from 57 school, university and professional subjects."""

from __future__ import annotations

from collections.abc import Iterable

from solon.evals.asking import Card, Data, Graded, Means, Options, Read, Record, Room, multiple_choice

VERSION = 1
FILES = ("mmlu/mmlu_dev_5shot.jsonl.gz", "mmlu/mmlu_test_sample_dev.jsonl.gz")
CARD = Card(
    title="MMLU, a fifth of the test rows",
    source="Hendrycks et al. 2021, arXiv 2009.03300",
    licence="MIT",
    split="test rows whose hash is 0 or 1 modulo 10; the authors' five examples of each subject",
    asked="five examples, then the question with A to D and `Answer:`; the four letters are scored",
    scored="the likeliest letter; all four are one letter long, so the normalised figures differ only by tokens",
    figures={"acc": "likeliest letter"},
    slices=("domain", "subject"),
)
LETTERS = "ABCD"
DOMAINS = {
    "mathematics": "abstract_algebra college_mathematics elementary_mathematics high_school_mathematics high_school_statistics",
    "coding": "college_computer_science computer_security high_school_computer_science machine_learning",
    "science": "anatomy astronomy clinical_knowledge college_biology college_chemistry college_medicine college_physics "
    "conceptual_physics electrical_engineering high_school_biology high_school_chemistry high_school_physics "
    "medical_genetics nutrition virology human_aging professional_medicine",
}
"""Domains of the capability table; every other subject is of the `humanities`."""
DOMAIN_OF = {subject: domain for domain, subjects in DOMAINS.items() for subject in subjects.split()}


def items(data: Data, seed: int, room: Room) -> list[Options]:
    """The column names of each subject's file stand among the rows of this copy and are left out."""
    shown: dict[str, list[str]] = {}
    for _, row in questions(data[FILES[0]]):
        shown.setdefault(row["subject"], []).append(f"{asked(row)} {LETTERS[int(row['answer'])]}\n\n")
    made = []
    for number, row in questions(data[FILES[1]]):
        subject = row["subject"]
        head = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
        made.append(
            Options(
                id=f"mmlu/{number}",
                context=head + "".join(shown.get(subject, ())) + asked(row),
                options=tuple(LETTERS[: len(row["choices"])]),
                right=(int(row["answer"]),),
                chance={"acc": 1 / len(row["choices"])},
                tags={"subject": subject, "domain": DOMAIN_OF.get(subject, "humanities")},
            )
        )
    return made


def questions(rows: Iterable[Record]) -> list[tuple[int, Record]]:
    return [(number, row) for number, row in enumerate(rows) if row["answer"] != "answer"]


def asked(row: Record) -> str:
    """One question up to `Answer:`, as the authors wrote it."""
    choices = "".join(f"\n{letter}. {choice}" for letter, choice in zip(LETTERS, row["choices"], strict=False))
    return f"{row['question'].strip()}{choices}\nAnswer:"


def grade(item: Options, answer: Read, means: Means) -> Graded:
    graded = multiple_choice(item, answer)
    return Graded({"acc": graded.figures["acc"]}, graded.facts)
