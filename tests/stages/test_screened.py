"""Every row that a run was trained on is scored where it was given, and nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from typer.testing import CliRunner

from solon.core.artifacts import Store, file_digest
from solon.core.errors import MissingError
from solon.core.records import as_json, conversation, user
from solon.safety.classifier import Classifier
from solon.stages import screened
from solon.stages.runs import Run

WORDS = ("bomb", "kill")


def harm(text: str) -> float:
    """What the classifier of these tests says: 3 a word less 2."""
    return float(1 / (1 + np.exp(2 - 3 * sum(text.count(word) for word in WORDS))))


def turns(*said: str) -> list[dict[str, str]]:
    return as_json(conversation(*zip(("user", "assistant") * len(said), said, strict=False)))


SUPERVISED = [
    {"id": "plain", "messages": turns("bomb?", "no")},
    {"id": "early", "messages": turns("hi", "a bomb", "and?", "no")},
    {"id": "context", "messages": turns("hi", "a bomb", "mend it", "no"), "learn": 1},
    {"id": "gone", "messages": turns("hi", "bomb bomb"), "dropped": "nothing to learn"},
]  # fmt: skip
PAIRS = [
    {"id": f"pair-{i}", "prompt": as_json(user("how?")), "first": "bomb" if i % 2 else "no", "second": "no" if i % 2 else f"kill a bomb {i}", "p_first": 0.1 if i % 2 else 0.9}
    for i in range(70)
] + [{"id": "even", "prompt": as_json(user("how?")), "first": "bomb", "second": "no", "p_first": 0.6}]  # fmt: skip


def trained(store: Store, name: str, rows: list[dict[str, Any]]) -> str:
    return store.make(name, 1, {}, {}, lambda draft: draft.write_rows("rows", rows)).id


@pytest.fixture
def run(tmp_path: Path) -> tuple[Store, Run]:
    store = Store(tmp_path)
    models = {"helpful": trained(store, "helpful", SUPERVISED), "aligned": trained(store, "dpo", PAIRS)}
    return store, Run("tiny-1", str(tmp_path / "tiny-1"), {}, "book", "2026-01-01", "2026-01-01", models).save()


def test_every_row_is_scored_where_it_was_given(run: tuple[Store, Run], word_classifier: Any) -> None:
    store, one = run
    before = {path: file_digest(path) for path in store.root.rglob("*") if path.is_file()}
    made = screened.screened(store, one, word_classifier(*WORDS))
    rows = {(row["training"], row["side"], row["id"]): row for row in made.rows("rows")}
    want = {("helpful", "reply", "plain"): "no", ("helpful", "reply", "early"): "a bomb", ("helpful", "reply", "context"): "no"}
    for row in PAIRS:
        better = "first" if row["p_first"] >= 0.5 else "second"
        want["aligned", "chosen", row["id"]] = row[better]
        want["aligned", "rejected", row["id"]] = row["second" if better == "first" else "first"]
    assert {key: row["harm"] for key, row in rows.items()} == pytest.approx({key: harm(text) for key, text in want.items()}, rel=1e-5)
    assert "bomb?" not in (made.path / "rows.jsonl").read_text(), "no texts"
    assert all(file_digest(path) == sha for path, sha in before.items()), "nothing is changed"
    assert made.evidence["inputs"] == one.models and screened.screened(store, one, word_classifier(*WORDS)).reused

    found = made.read("figures.json")
    assert found["screened"] == f"{len(want)} of {len(want)}" and found["classifier"] == "card-of-the-test"
    for part in found["trainings"]:
        texts = {id: text for (training, side, id), text in want.items() if (training, side) == (part["training"], part["side"])}
        hits = sum(harm(text) >= 0.5 for text in texts.values())
        exact = binomtest(hits, len(texts)).proportion_ci(method="exact")
        flagged = part["flagged"]
        assert part["screened"] == f"{len(texts)} of {len(texts)}" and flagged["value"] == hits / len(texts)
        assert (flagged["low"], flagged["high"]) == pytest.approx((exact.low, exact.high))
        assert part["severity"]["value"] == pytest.approx(3 * np.mean([harm(text) for text in texts.values()]), rel=1e-4)
        assert [row["id"] for row in part["worst"]] == sorted(texts, key=lambda id: (-harm(texts[id]), id))[:5]
    chosen, rejected = found["trainings"][1:]
    assert chosen["flagged"]["value"] == 1 / 71 and rejected["flagged"]["value"] == 70 / 71


def test_a_row_without_a_reply_is_told_as_not_screened(tmp_path: Path, word_classifier: Any) -> None:
    store = Store(tmp_path)
    rows = [{"id": "empty", "messages": []}, {"id": "rollout", "prompt": as_json(user("go")), "reply": "kill"}]
    run = Run("odd", str(tmp_path / "odd"), {}, "book", "x", "x", {"aligned": trained(store, "grpo", rows)})
    found = screened.screened(store, run, word_classifier(*WORDS)).read("figures.json")
    assert found["screened"] == "1 of 2" and found["trainings"][0]["flagged"]["value"] == 1
    with pytest.raises(MissingError, match="trained nothing"):
        screened.screened(store, Run("new", "", {}, "book", "x"), word_classifier(*WORDS))


def test_a_stopped_screening_goes_on_where_it_was(run: tuple[Store, Run], word_classifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store, one = run
    own, score, calls = word_classifier(*WORDS), Classifier.score, []

    def counted(self: Classifier, items: Any, progress: Any = None) -> Any:
        calls.append(items)
        if len(calls) == 70:
            raise KeyboardInterrupt
        return score(self, items, progress)

    monkeypatch.setattr(Classifier, "score", counted)
    with pytest.raises(KeyboardInterrupt):
        screened.screened(store, one, own)
    made = screened.screened(store, one, own)
    assert len(calls) == 70 + 3 + 142 - screened.SHARD  # a whole shard is not asked for again
    monkeypatch.undo()
    plain = Store(store.root / "other")
    again = Run(one.id, one.path, {}, "book", "x", "x", {"helpful": trained(plain, "helpful", SUPERVISED), "aligned": trained(plain, "dpo", PAIRS)})
    assert (screened.screened(plain, again, own).path / "rows.jsonl").read_bytes() == (made.path / "rows.jsonl").read_bytes()


def test_the_command(run: tuple[Store, Run], word_classifier: Any) -> None:
    from solon.cli.program import app

    word_classifier(*WORDS)
    place = ["--runs", str(run[0].root)]
    told = json.loads(CliRunner().invoke(app, ["safety", "screen", "tiny", *place, "--json"]).stdout)
    assert told["screened"] == "145 of 145" and told["artifact"].startswith("screened-")
    shown = CliRunner().invoke(app, ["safety", "screen", *place]).stdout
    assert "71 of 71" in shown and "screened 145 of 145 rows by card-of-the-test" in shown and "pair-0" in shown
    wrong = CliRunner().invoke(app, ["safety", "screen", "nothing", *place])
    assert wrong.exit_code == 2 and "there is no run" in wrong.stderr
