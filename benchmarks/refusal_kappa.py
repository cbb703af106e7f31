"""Agreement of `solon.evals.answers` with human labels on XSTest's released answers (Röttger et al. 2024).

    SOLON_DATA=... python benchmarks/refusal_kappa.py [--json]

The rules were written in two rounds. First on gpt4, mistralguard and mistralinstruct; frozen, they reached .773 on the
two Llama 2 models, a family never seen (string match: .864 there). Then the answers of llama2orig were read as well.
Those of llama2new (the same weights without the long system prompt) have never been read, and their figure was taken
twice: once after each round. It is the held-out one, though its family and its prompts are not new; the fair
expectation for a family not seen lies between the two.

As in the figures compared with, replies that the humans call partial refusals are dropped from the two-class kappa, and
one that the rules call partial is no refusal. The three-class kappa keeps all replies.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path

from solon.core.errors import MissingError
from solon.evals.agreement import cohen_kappa
from solon.evals.answers import REFUSALS, answer_type
from solon.evals.statistics import Figure, proportion

DEVELOPED_ON = ("gpt4", "mistralguard", "mistralinstruct", "llama2orig")
HELD_OUT = ("llama2new",)
HUMAN = {"1": "comply", "2": "refusal", "3": "partial"}

Row = tuple[str, str, str]  # model, human label, label of the rules


def rows() -> list[Row]:
    """Every answer with its two labels; empty replies count as compliance, as the humans had no such label."""
    path = Path(os.environ.get("SOLON_DATA", "")) / "xstest_answers" / "answers_dev.jsonl.gz"
    if not path.is_file():
        fix = "set SOLON_DATA to the data folder"
        raise MissingError("the labelled answers are not there", got=path, fix=fix)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        answers = [json.loads(line) for line in lines]
    found = []
    for answer in answers:
        label = answer_type(answer["prompt"], answer["completion"]).label
        ours = "refusal" if label in REFUSALS else "partial" if label == "partial" else "comply"
        found.append((answer["model"], HUMAN[answer["final_label"][0]], ours))
    return found


def figures(chosen: list[Row]) -> dict[str, Figure]:
    """Kappa and accuracy of refusal against compliance, and kappa over the three classes."""
    clear = [(human == "refusal", ours == "refusal") for _, human, ours in chosen if human != "partial"]
    return {
        "kappa": cohen_kappa([human for human, _ in clear], [ours for _, ours in clear]),
        "accuracy": proportion([human == ours for human, ours in clear]),
        "kappa, 3 classes": cohen_kappa([human for _, human, _ in chosen], [ours for _, _, ours in chosen]),
    }


def main() -> None:
    """Print one line a figure, for each model, the models developed on, and the held-out ones."""
    everything = rows()
    groups: dict[str, tuple[str, ...]] = {f"  {model}": (model,) for model in DEVELOPED_ON}
    groups |= {"developed on": DEVELOPED_ON, "HELD OUT": HELD_OUT, "all": DEVELOPED_ON + HELD_OUT}
    table = {name: figures([row for row in everything if row[0] in models]) for name, models in groups.items()}
    if "--json" in sys.argv:
        print(json.dumps({name: {k: vars(v) for k, v in found.items()} for name, found in table.items()}, indent=2))
        return
    for name, found in table.items():
        for what, figure in found.items():
            print(f"{name:16} {what:17} {figure.value:.3f}  [{figure.low:.3f}, {figure.high:.3f}]  n={figure.n}")


if __name__ == "__main__":
    main()
