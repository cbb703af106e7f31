"""Failing prompts in groups: slices that the rows' own tags and form give, and clusters that their words or meaning give."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from solon.core.artifacts import Record
from solon.core.keys import seed_of
from solon.evals import statistics as stats

FEWEST = 4  # rows of a slice, and failing prompts of a cluster analysis that is worth one
MOST_CLUSTERS = 8
SIZE = 6  # prompts a cluster, on average, at least
MOST = 2_000  # prompts that are clustered; of more, as many drawn by name
TERMS = 5
EXAMPLES = 3
LENGTHS = ("short", "middling", "long")
TAGS = ("category", "style", "trap", "topic", "about")
FORMS = (
    ("play", re.compile(r"\b(?:pretend|imagine|you are|you're now|act as|role.?play|story|novel|character|be my)\b", re.IGNORECASE)),
    ("how-to question", re.compile(r"^\W*(?:so |and |ok(?:ay)?,? )?how (?:do|can|to|would|could|should|much|many)\b", re.IGNORECASE)),
    ("question", re.compile(r"\?\s*$")),
)  # fmt: skip
"""The form of a request by its words, the first that fits; else an instruction."""


def slices(rows: Sequence[tuple[Record, bool]]) -> list[Record]:
    """The share that failed in each slice with its interval, against all other rows by Fisher's test, with Holm's correction
    over all slices, and Benjamini and Hochberg's (`q`), which is the fitter one for choosing where to look next. `rows` are (row, failed)."""
    from scipy.stats import fisher_exact

    names = _cuts([row for row, _ in rows])
    bad = np.array([failed for _, failed in rows])
    found: list[Record] = []
    for by, values in names.items():
        for value in sorted({one for one in values if one}):
            inside = np.array([one == value for one in values])
            n, hits = int(inside.sum()), int(bad[inside].sum())
            if n < FEWEST or n == len(rows):
                continue
            one = stats.proportion(bad[inside].tolist())
            rest = bad[~inside]
            p = float(fisher_exact([[hits, n - hits], [int(rest.sum()), int((~rest).sum())]]).pvalue)
            found.append({"by": by, "value": value, "failed": hits, "n": n, "share": one.value, "ci": [one.low, one.high], "p": p})
    ps = [row["p"] for row in found]
    for row, p, q in zip(found, stats.holm(ps), stats.benjamini_hochberg(ps), strict=True):
        row |= {"p_holm": float(p), "q": float(q)}
    return sorted(found, key=lambda row: (-row["share"], -row["n"], row["value"]))


def _cuts(rows: Sequence[Record]) -> dict[str, list[str]]:
    """For each way of cutting, the slice of every row."""
    out = {tag: [str({**row, **row.get("tags", {})}.get(tag, "")) for row in rows] for tag in TAGS}
    asked = [row["prompt"][-1]["content"] if "prompt" in row else "" for row in rows]
    if all(asked):
        counts = [len(text.split()) for text in asked]
        low, high = np.quantile(counts, (1 / 3, 2 / 3))
        out["length"] = [LENGTHS[int(n > low) + int(n > high)] for n in counts]
        out["form"] = [form(text) for text in asked]
    return {name: values for name, values in out.items() if len(set(values) - {""}) > 1}


def form(text: str) -> str:
    """How a request is put, by its words."""
    return next((name for name, cue in FORMS if cue.search(text)), "instruction")


def clusters(rows: Sequence[Record], by: Literal["words", "meaning"]) -> list[Record]:
    """Groups of failing prompts, the largest first: terms that set a group apart, prompts nearest its middle, and how well the
    groups are apart (silhouette, from -1 to 1; near 0 they run into each other). The number of groups is the one with the best
    silhouette. Empty where there are too few prompts."""
    rows = sorted(rows, key=lambda row: seed_of("clusters", row["id"]))[:MOST]
    texts = [row["prompt"][-1]["content"] for row in rows]
    if len(set(texts)) < 2 * FEWEST:
        return []
    words, names = _by_words(texts)
    points = words if by == "words" else _by_meaning(texts)
    apart, place = _best(points)
    found = []
    for number in range(int(place.max()) + 1):
        inside = np.flatnonzero(place == number)
        middle = points[inside].mean(axis=0)
        near = inside[np.argsort(-(points[inside] @ middle), kind="stable")]
        terms = words[inside].mean(axis=0) - words.mean(axis=0)
        found.append({
            "n": len(inside), "share": len(inside) / len(rows), "silhouette": apart,
            "terms": [str(names[i]) for i in np.argsort(-terms, kind="stable")[:TERMS] if terms[i] > 0],
            "examples": [{"id": rows[i]["id"], "prompt": texts[i], "reply": rows[i]["reply"]} for i in near[:EXAMPLES]],
        })  # fmt: skip
    return sorted(found, key=lambda one: -one["n"])


def _by_words(texts: Sequence[str]) -> tuple[Any, Any]:
    """TF-IDF rows of length 1, and the terms."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    maker = TfidfVectorizer(sublinear_tf=True, stop_words="english", token_pattern=r"(?u)\b[^\W\d_]{3,}\b")
    try:
        return maker.fit_transform(texts).toarray(), maker.get_feature_names_out()
    except ValueError:  # nothing but stop words: every prompt is as far from every other
        return np.eye(len(texts)), np.array([""] * len(texts))


def _by_meaning(texts: Sequence[str]) -> Any:
    from solon.models.encoders import minilm

    return minilm.load().embed(texts).astype(np.float64)


def _best(points: Any) -> tuple[float, Any]:
    """Ward's linkage, cut where the silhouette by the angle between prompts is best."""
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.metrics import silhouette_score

    tries = []
    for k in range(2, max(2, min(MOST_CLUSTERS, len(points) // SIZE)) + 1):
        place = AgglomerativeClustering(n_clusters=k).fit_predict(points)
        tries.append((float(silhouette_score(points, place, metric="cosine")), -k, place))
    apart, _, place = max(tries, key=lambda one: one[:2])
    return apart, place
