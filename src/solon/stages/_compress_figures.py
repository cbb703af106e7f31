"""From the rows of all forms to one table: figures with intervals, and each form against the original on the same items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from solon.core.artifacts import Record
from solon.evals import statistics as stats
from solon.stages._compress_forms import ORIGINAL

PROSE = ("passage", "wikitext")


def perplexity(nats: Any, tokens: Any) -> Any:
    """exp of the mean -log p over all tokens of all passages."""
    return np.exp(nats.sum(-1) / tokens.sum(-1))


def perplexity_ratio(before: Any, after: Any, tokens: Any) -> Any:
    return np.exp((after.sum(-1) - before.sum(-1)) / tokens.sum(-1))


def figures(made: Mapping[str, tuple[Record, Sequence[Record], Sequence[Record]]]) -> list[Record]:
    """One row a form from `{form: (facts, speeds, likelihoods)}`, the original among them. Holm's correction is over all
    comparisons of the table."""
    columns = {name: _columns(likelihoods) for name, (_, _, likelihoods) in made.items()}
    rows: list[Record] = []
    for name, (facts, speeds, _) in made.items():
        changes = {} if name == ORIGINAL else _changes(name, columns[ORIGINAL], columns[name])
        rows.append({"form": name, **facts, "speed": list(speeds), "figures": _figures(name, columns[name]), "changes": changes})
    stats.correct([change for row in rows for change in row["changes"].values()])
    return rows


def _columns(rows: Sequence[Record]) -> dict[str, dict[str, np.ndarray]]:
    """`{kind: {field: values in the items' order}}`; every form read the same items in the same order."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    of = {kind: [row for row in rows if row["kind"] == kind] for kind in kinds}
    fields = {"multiple_choice": ("right",), "reference": ("loss",)}
    return {
        kind: {field: np.array([row[field] for row in many], np.float64) for field in fields.get(kind, ("nats", "kl", "tokens"))}
        for kind, many in of.items()
    }


def _figures(name: str, columns: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for kind in PROSE:
        if kind in columns:
            nats, kl, tokens = (columns[kind][field] for field in ("nats", "kl", "tokens"))
            one = stats.bootstrap(perplexity, nats, tokens, name=f"{name} {kind}", what="perplexity over all tokens")
            found[f"{kind} perplexity"] = _record(one, "ppl", int(tokens.sum()))
            per_token = lambda kl, tokens: kl.sum(-1) / tokens.sum(-1)  # noqa: E731
            one = stats.bootstrap(per_token, kl, tokens, name=f"{name} {kind} kl", what="mean KL(original || form) over all tokens")
            found[f"{kind} kl"] = _record(one, "nats a token", int(tokens.sum()))
    found["multiple_choice"] = _record(stats.proportion(columns["multiple_choice"]["right"].tolist()), "share")
    found["reference_loss"] = _record(stats.mean(columns["reference"]["loss"].tolist(), name=f"{name} reference"), "nats a token")
    return found


def _record(one: stats.Figure, unit: str, tokens: int = 0) -> Record:
    """A figure as it is kept; `n` counts items (passages, questions, replies)."""
    record: Record = {"value": one.value, "ci": [one.low, one.high], "n": one.n, "unit": unit, "how": one.how}
    return record | ({"tokens": tokens} if tokens else {})


def _changes(name: str, before: Mapping[str, Mapping[str, np.ndarray]], after: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Record]:
    """What became of the original's figures, item by item."""
    found: dict[str, Record] = {}
    for kind in PROSE:
        if kind in after:
            tokens, a, b = after[kind]["tokens"], before[kind]["nats"], after[kind]["nats"]
            ratio = stats.bootstrap(perplexity_ratio, a, b, tokens, name=f"{name} {kind} ratio", what="perplexity over the original's")
            test = stats.paired_means((a / tokens).tolist(), (b / tokens).tolist(), name=f"{name} {kind}", unit="nats a token")
            found[f"{kind} perplexity"] = {**_record(ratio, "ratio"), "p": test.p, "test": test.test, "plain": test.plain}
    right, right_after = (side["multiple_choice"]["right"].tolist() for side in (before, after))
    found["multiple_choice"] = _change(stats.paired_proportions(right, right_after, name=f"{name} choice"), "share")
    loss, loss_after = (side["reference"]["loss"].tolist() for side in (before, after))
    found["reference_loss"] = _change(stats.paired_means(loss, loss_after, name=f"{name} reference", unit="nats a token"), "nats a token")
    return found


def _change(one: stats.Comparison, unit: str) -> Record:
    return {
        "value": one.difference, "ci": [one.low, one.high], "n": one.n, "unit": unit, "p": one.p, "test": one.test,
        "plain": one.plain, "detectable": one.detectable,
    }  # fmt: skip
