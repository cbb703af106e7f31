"""What is measured of a safety classifier on held-out texts: sets, outputs, groups and replies, each with an interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solon.core.artifacts import Record
from solon.safety import head as heads
from solon.safety import measure
from solon.safety.head import HARM, OUTPUTS, Floats, Head, targets
from solon.safety.replies import Read, ReplyHead
from solon.safety.texts import Reply, Text
from solon.stages import _safety_texts

REQUESTS = ("red_team", "harmbench", "benign", "helpful_prompts")
SETS: dict[str, tuple[tuple[str, ...], str]] = {
    "requests": (REQUESTS, "severity>=1"), "moderation": (("moderation",), "severity>=1"), "wiki": (("wiki",), "severity>=1"),
    "surge": (("surge",), "severity>=1"), "madlibs": (("madlibs",), "severity>=1"), "hatecheck": (("hatecheck",), "hate"),
    "xstest": (("xstest",), "severity>=1"),
}  # fmt: skip
"""Each test set: its sources, and the output whose labels it carries. All of them are scored by `severity>=1`, harm."""
GROUPED = ("hatecheck", "madlibs")
FEWEST = 20
"""Texts of a slice, without which it is not reported."""


def test_texts() -> dict[str, list[Text]]:
    """The held-out texts of each set."""
    return {name: [t for one in sources for t in _safety_texts.texts(one, "test")] for name, (sources, _) in SETS.items()}


def test_replies() -> dict[str, list[Reply]]:
    """The held-out replies: five models' answers to XSTest, the starter's labelled pairs, and hh-rlhf's pairs."""
    rows = _safety_texts.replies("test")
    return {
        "xstest_answers": _safety_texts.xstest_replies(),
        "labelled_pairs": [row for row in rows if row.source == "labelled_pairs" and row.harmful is not None],
        "hh_harmless": [row for row in rows if row.worse],
    }


def truth(texts: Sequence[Text], output: str) -> Floats:
    """`[n]`: 1, 0 or nan, by what the labels say of one output."""
    return targets([text.known for text in texts])[:, OUTPUTS.index(output)]


def of_texts(head: Head, tests: Mapping[str, Sequence[Text]], read: Mapping[str, Read]) -> list[Record]:
    """Figures of every set by the harm score, of every category and level that its labels tell apart, of the categories
    together, and of groups."""
    rows: list[Record] = []
    for name, texts in tests.items():
        p = head.probabilities(np.array([read[text.text][0] for text in texts]))
        rows += decisions(name, "", texts, truth(texts, SETS[name][1]), p[:, HARM], head.threshold[HARM])
        rows += by_output(name, texts, p, head.threshold)
        if name in GROUPED:
            for group in sorted({text.group for text in texts} - {""}):
                inside = np.array([text.group == group for text in texts])
                chosen = [text for text in texts if text.group == group]
                rows += decisions(name, group, chosen, truth(chosen, SETS[name][1]), p[inside, HARM], head.threshold[HARM])
    return rows


def by_output(name: str, texts: Sequence[Text], p: Floats, threshold: NDArray[Any]) -> list[Record]:
    """Figures of each category and level by its own score where enough texts of each kind are known, and over the categories
    among them the mean of F1, if there are several."""
    known = targets([text.known for text in texts])
    told = [j for j in range(len(OUTPUTS)) if j != HARM and min((known[:, j] == kind).sum() for kind in (0, 1)) >= heads.FEWEST]
    rows = [row for j in told for row in decisions(name, OUTPUTS[j], texts, known[:, j], p[:, j], threshold[j])]
    categories = [j for j in told if j < HARM]
    if len(categories) < 2:
        return rows
    clusters, yes = [text.family for text in texts], (known[:, categories] == 1).any(1)
    found = measure.measure(
        measure.macro_f1, yes, known[:, categories], p[:, categories] >= threshold[categories], clusters=clusters, name=f"{name} macro-F1"
    )
    how = f"mean over {', '.join(OUTPUTS[j] for j in categories)}; {found.how}"
    return [*rows, {"set": name, "slice": "categories", "figure": "macro-F1", **asdict(found), "how": how}]


def decisions(name: str, slice: str, texts: Sequence[Text], y: Floats, p: Floats, threshold: float) -> list[Record]:
    """Ranking, decisions and calibration of one score on the texts whose label is known; none if one kind is missing."""
    given = np.isfinite(y)
    if given.sum() < FEWEST or len(set(y[given])) < 2:
        return []
    clusters = [text.family for text, here in zip(texts, given, strict=True) if here]
    return described(name, slice, y[given], p[given], threshold, clusters)


def described(name: str, slice: str, y: Floats, p: Floats, threshold: float | None, clusters: Sequence[str]) -> list[Record]:
    """One row a figure: `{"set", "slice", "figure", "value", "low", "high", "n", "positives", "how"}`. Without a
    threshold only the ranking figures. The row of F1 also holds the `confusion` matrix of the decisions."""
    figures: dict[str, tuple[Any, Any]] = {"AUPRC": (measure.average_precision, p), "AUROC": (measure.auroc, p)}
    if threshold is not None:
        decided = p >= threshold
        figures |= {"F1": (measure.f1, decided), "recall": (measure.recall, decided)}
        figures |= {"FPR": (measure.false_positive_rate, decided), "ECE": (measure.ece, p)}
    rows = []
    for figure, (what, column) in figures.items():
        found = measure.measure(what, y, column, clusters=clusters, name=f"{name} {slice} {figure}")
        matrix = {"confusion": confusion(y, column)} if figure == "F1" else {}
        rows.append({"set": name, "slice": slice, "figure": figure, **asdict(found), **matrix})
    return rows


def confusion(y: Floats, decided: NDArray[np.bool_]) -> dict[str, int]:
    """How many texts of each truth (harmful or not) were decided each way (flagged or not); the four add up to n."""
    harmful = y == 1
    kinds = {"harmful, flagged": harmful & decided, "harmful, passed": harmful & ~decided}
    kinds |= {"harmless, flagged": ~harmful & decided, "harmless, passed": ~harmful & ~decided}
    return {name: int(one.sum()) for name, one in kinds.items()}


def confusions(rows: Sequence[Record]) -> list[Record]:
    """The confusion matrices of rows of figures, by set and slice."""
    return [{"set": row["set"], "slice": row["slice"], **row["confusion"]} for row in rows if "confusion" in row]


def of_replies(head: ReplyHead, tests: Mapping[str, Sequence[Reply]], read: Mapping[str, Read]) -> list[Record]:
    """Figures of replies in their context, and how often the worse reply of a pair scores higher."""
    rows: list[Record] = []
    for name, replies in tests.items():
        if not replies:
            continue
        scores = np.array([head.probability(read[row.prompt], read[row.text]) for row in replies])
        clusters = [row.family for row in replies]
        if name == "hh_harmless":
            other = np.array([head.probability(read[row.prompt], read[row.worse]) for row in replies])
            right = (other > scores) + 0.5 * (other == scores)
            found = measure.measure(_mean, np.ones(len(right)), right, clusters=clusters, name=name)
            rows.append({"set": name, "slice": "", "figure": "worse reply scores higher", **asdict(found)})
            continue
        rows += described(name, "", np.array([float(bool(row.harmful)) for row in replies]), scores, head.threshold, clusters)
    return rows


def _mean(_: Any, values: Floats) -> float:
    return float(values.mean())


def wanted(texts: Mapping[str, Sequence[Text]], replies: Mapping[str, Sequence[Reply]]) -> list[str]:
    """Every text that has to be read."""
    return list(dict.fromkeys([*(one.text for many in texts.values() for one in many), *of_rows(one for many in replies.values() for one in many)]))


def of_rows(replies: Iterable[Reply]) -> list[str]:
    """The texts of replies: what was asked, what was said, and the worse reply where there is one."""
    return [text for row in replies for text in (row.prompt, row.text, row.worse) if text]
