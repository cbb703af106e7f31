"""Fits the helpfulness score on the training side, and measures it beside length alone on the held-out side.

    python benchmarks/helpfulness.py [--write] [--json]          (SOLON_DATA adds hh-rlhf's human labels)

`--write` puts the weights into the package. The penalty is chosen by cross-validation inside the training side; nothing
is chosen on held-out pairs. Fitted on the kinds in which the better reply is the more helpful one; pairs whose better
reply refuses a harmful request are another matter and are left out (`harm_refused`).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from solon.core.keys import seed_of
from solon.core.records import LabelledPair
from solon.curate import catalogue, starter
from solon.evals import helpfulness, statistics
from solon.evals.statistics import Figure

SOURCE = "starter:labelled_pairs"
KINDS = ("helpful", "over_refusal", "bare_refusal", "honesty", "privacy_fairness_autonomy")
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FOLDS = 5
TARGET = Path(helpfulness.__file__).with_name("helpfulness.json")

Triple = tuple[str, str, str]


def triples(pairs: list[LabelledPair]) -> list[Triple]:
    """Prompt (the last thing the user said), better reply, worse reply."""
    return [(pair.prompt[-1].content, pair.chosen, pair.rejected) for pair in pairs]


def margins(pairs: list[Triple], weights: helpfulness.Weights) -> np.ndarray:
    """Score of the better reply and of the worse one, [pairs, 2]."""
    return np.array([[helpfulness.score(prompt, one, weights) for one in replies] for prompt, *replies in pairs])


def lengths(pairs: list[Triple]) -> np.ndarray:
    """Log characters of the better and the worse reply, [pairs, 2]."""
    return np.log1p([[len(one.strip()) for one in replies] for _, *replies in pairs])


def choose(pairs: list[Triple]) -> float:
    """The penalty with the lowest cross-validated loss; a prompt's fold follows from its words."""
    fold = np.array([seed_of("helpfulness fold", prompt) % FOLDS for prompt, *_ in pairs])

    def loss(penalty: float) -> float:
        total = 0.0
        for held in range(FOLDS):
            weights = helpfulness.fit([one for one, f in zip(pairs, fold, strict=True) if f != held], penalty)
            p = margins([one for one, f in zip(pairs, fold, strict=True) if f == held], weights)
            z = np.log(p / (1 - p))
            total += float(np.log1p(np.exp(z[:, 1] - z[:, 0])).sum())
        return total / len(pairs)

    return min(PENALTIES, key=loss)


def correlation(values: Any) -> Any:
    """Of a score with the label (better 1, worse 0) over all replies; `values` is [..., pairs, 2]."""
    gap = (values[..., 0] - values[..., 1]).mean(axis=-1) / 2
    spread = values.reshape(*values.shape[:-2], -1).std(axis=-1)
    return np.divide(gap, spread, out=np.zeros_like(np.asarray(gap)), where=spread > 0)


def compared(name: str, ours: np.ndarray, length: np.ndarray) -> dict[str, Figure | str]:
    """Correlation and pair accuracy of the score and of length, and how much the score is ahead."""
    places = list(range(len(ours)))

    def of(values: np.ndarray) -> Any:
        return lambda pick: correlation(values[np.asarray(pick).astype(int)])

    ahead = lambda pick: of(ours)(pick) - of(length)(pick)  # noqa: E731
    right, by_length = (((v[:, 0] > v[:, 1]) + 0.5 * (v[:, 0] == v[:, 1])).tolist() for v in (ours, length))
    return {
        "correlation, score": statistics.bootstrap(of(ours), places, name=f"{name} score", what="correlation with labels"),
        "correlation, length": statistics.bootstrap(of(length), places, name=f"{name} length", what="correlation with labels"),
        "correlation, ahead": statistics.bootstrap(ahead, places, name=f"{name} ahead", what="difference of correlations"),
        "pairs right, score": statistics.mean(right, name=f"{name} right"),
        "pairs right, length": statistics.mean(by_length, name=f"{name} by length"),
        "pairs right, plain": statistics.paired_means(by_length, right, name=f"{name} ahead").plain,
    }


def main() -> None:
    """Fit, measure, print; with --write, ship."""
    wanted = lambda split: [one for one in starter.load("labelled_pairs", split) if one.kind in KINDS]  # noqa: E731
    train, held = wanted("train"), wanted("heldout")
    penalty = choose(triples(train))
    source = {"rows": SOURCE, "side": "train", "kinds": ", ".join(KINDS), "sha256": starter.digest("labelled_pairs"), "penalty": str(penalty)}
    weights = helpfulness.fit(triples(train), penalty, source)
    if "--write" in sys.argv:
        TARGET.write_text(helpfulness.save(weights), "utf-8")
    groups = {"training side": train, "HELD OUT": held}
    groups |= {f"held out, {kind}": [one for one in held if one.kind == kind] for kind in KINDS}
    if os.environ.get("SOLON_DATA"):
        groups["held out, hh-rlhf harmless (people)"] = catalogue.labelled_pairs("shared:hh_harmless", "heldout")
    table = {}
    for name, pairs in groups.items():
        given = triples(pairs)
        table[name] = compared(name, margins(given, weights), lengths(given))
    if "--json" in sys.argv:
        plain = {name: {k: v if isinstance(v, str) else vars(v) for k, v in found.items()} for name, found in table.items()}
        print(json.dumps({"weights": json.loads(helpfulness.save(weights)), "table": plain}, indent=2))
        return
    for name, found in table.items():
        for what, figure in found.items():
            if isinstance(figure, str):
                print(f"{name:36} {what:20} {figure}")
            else:
                print(f"{name:36} {what:20} {figure.value:.3f}  [{figure.low:.3f}, {figure.high:.3f}]  n={figure.n}")
    for feature, weight in sorted(weights.weight.items(), key=lambda one: -abs(one[1])):
        print(f"{feature:24} {weight:+.2f}")


if __name__ == "__main__":
    main()
