"""The shipped safety classifier against two free ones on the same held-out texts, and its time for one text on one core.

    pip install 'solon[bench]'
    SOLON_DATA=... python benchmarks/safety_classifier.py [--json] [--head minilm]     # the table
    SOLON_DATA=... python benchmarks/safety_classifier.py --time                       # milliseconds a text, on one core

alt-profanity-check is a linear model on word counts, trained on tweets and Wikipedia comments; HateSonar one on tweets. Both
score a text from 0 to 1: the probability of profanity, and one less the probability of `neither`. Neither was made for
harmful requests, so `requests` and `xstest` say what a profanity filter misses, not that it is bad at its own work. Some
Wikipedia comments of `wiki` may lie in the training data of alt-profanity-check; that can only help it.

Differences are paired: both scores of a text are drawn together, whole families at a time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from solon.core.errors import MissingError
from solon.core.records import conversation
from solon.safety import measure
from solon.safety.classifier import Classifier, Item, load
from solon.safety.head import HARM
from solon.stages import _safety_figures as held_out

FIGURES = {"AUPRC": measure.average_precision, "AUROC": measure.auroc}
TIMED = 300


def baselines() -> dict[str, Callable[[Sequence[str]], np.ndarray]]:
    """Name to scores. Raises `MissingError` without the packages."""
    try:
        import hatesonar
        import profanity_check
    except ImportError as error:
        raise MissingError("the benchmark needs the libraries it compares with", got=error, fix="pip install 'solon[bench]'") from None
    sonar = hatesonar.Sonar()

    def hate(text: str) -> float:
        classes = {one["class_name"]: float(one["confidence"]) for one in sonar.ping(text)["classes"]}
        return 1.0 - classes["neither"]

    return {
        "alt-profanity-check": lambda texts: np.asarray(profanity_check.predict_prob(list(texts)), np.float64),
        "hatesonar": lambda texts: np.array([hate(text) for text in texts]),
    }


def table(classifier: Classifier) -> list[dict[str, Any]]:
    """One row for each set, figure and classifier; baselines with the paired difference to ours."""
    rows = []
    others = baselines()
    for name, texts in held_out.test_texts().items():
        y = held_out.truth(texts, held_out.SETS[name][1])
        texts = [text for text, known in zip(texts, np.isfinite(y), strict=True) if known]
        y, clusters = y[np.isfinite(y)], [text.family for text in texts]
        logits = np.array([classifier.logits(text.text)[0] for text in texts])
        ours = classifier.head.probabilities(logits)[:, HARM]
        theirs = {other: score([text.text for text in texts]) for other, score in others.items()}
        for figure, what in FIGURES.items():
            found = measure.measure(what, y, ours, clusters=clusters, name=f"{name} {figure}")
            rows.append({"set": name, "figure": figure, "classifier": "solon", **vars(found)})
            for other, score in theirs.items():
                alone = measure.measure(what, y, score, clusters=clusters, name=f"{name} {figure}")
                gap = measure.measure(
                    lambda y, a, b, what=what: what(y, a) - what(y, b), y, ours, score, clusters=clusters, name=f"{name} {figure}"
                )
                ahead = {"ahead": gap.value, "ahead_low": gap.low, "ahead_high": gap.high}
                rows.append({"set": name, "figure": figure, "classifier": other, **vars(alone), **ahead})
    return rows


def on_one_core() -> None:
    """Begin again on one core: threads of numerical libraries are there from the import on and would keep the cores they had."""
    cores = os.sched_getaffinity(0)
    if len(cores) > 1:
        os.sched_setaffinity(0, {max(cores)})
        os.execv(sys.executable, [sys.executable, *sys.argv])


def times(classifier: Classifier) -> dict[str, Any]:
    """Milliseconds for one text, and for one reply with its request, over held-out ones of all sets."""
    texts = [text.text for many in held_out.test_texts().values() for text in many[: TIMED // 7 + 1]][:TIMED]
    replies = [reply for many in held_out.test_replies().values() for reply in many[: TIMED // 3]]
    talks = [conversation(("user", one.prompt), ("assistant", one.text)) for one in replies]
    out = {"cores": len(os.sched_getaffinity(0)), "texts": _times(classifier, texts, [len(text) for text in texts])}
    if classifier.replies is not None:
        out["replies"] = _times(classifier, talks, [len(one.prompt) + len(one.text) for one in replies])
    return out


def _times(classifier: Classifier, items: Sequence[Item], characters: Sequence[int]) -> dict[str, Any]:
    """The middle and the 95th percentile over items, each timed alone after a round in which everything was compiled."""
    classifier.score(items)
    took = []
    for item in items:
        fresh = Classifier(classifier.reader, classifier.head, classifier.replies, classifier.card)  # it keeps no request's reading
        begin = time.perf_counter()
        fresh.score([item])
        took.append(1e3 * (time.perf_counter() - begin))
    longest = int(np.argmax(took))
    return {
        "n": len(items), "median_ms": float(np.median(took)), "p95_ms": float(np.quantile(took, 0.95)), "worst_ms": took[longest],
        "worst_characters": characters[longest], "median_characters": float(np.median(characters)),
    }  # fmt: skip


def main() -> None:
    """Print the table, or with --time the times; --json for machines."""
    if "--time" in sys.argv:
        on_one_core()
    name = sys.argv[sys.argv.index("--head") + 1] if "--head" in sys.argv else "minilm"
    found: Any = times(load(name)) if "--time" in sys.argv else table(load(name))
    if "--json" in sys.argv or "--time" in sys.argv:
        print(json.dumps(found, indent=1))
        return
    for row in found:
        ahead = f"  solon ahead {row['ahead']:+.3f} [{row['ahead_low']:+.3f}, {row['ahead_high']:+.3f}]" if "ahead" in row else ""
        value = f"{row['value']:.3f}  [{row['low']:.3f}, {row['high']:.3f}]"
        print(f"{row['set']:11} {row['figure']:6} {row['classifier']:20} {value}  n={row['n']} ({row['positives']}){ahead}")


if __name__ == "__main__":
    main()
