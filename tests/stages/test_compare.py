"""Figures of compared models: empty replies lose, and sentences say what is left after the correction."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from solon.constitution.store import load
from solon.core.artifacts import Store
from solon.stages.compare import compare

WORDS = "Put the kettle on, wait until it sings, and pour the water over the leaves."


class Longer:
    """Prefers the longer reply in both orders; has no opinion of prompts that it is told to pass over."""

    def __init__(self, silent=()):
        self.silent, self.asked = silent, []

    def prefer(self, questions):
        self.asked += [one.id for one in questions]
        sure = [0.9 if len(one.first) > len(one.second) else 0.1 for one in questions]
        known = [one.id not in self.silent for one in questions]
        return [SimpleNamespace(p_forward=p if here else None, p_backward=1 - p if here else None) for p, here in zip(sure, known, strict=True)]


def replies(texts):
    prompt = [{"role": "user", "content": "How do I make tea?"}]
    overlap = {"bleu": 0.1, "rouge_l": 0.1, "chrf": 0.1}
    return [{"id": f"h{n}", "kind": "helpful", "prompt": prompt, "reply": text, "label": "comply", "overlap": overlap} for n, text in enumerate(texts)]


def evaluated(store, role, rows, likelihoods=()):
    def build(draft):
        draft.write_rows("replies", rows)
        draft.write_rows("likelihoods", list(likelihoods))
        draft.write_rows("consistency", [])

    return store.make("evaluate", 1, {"role": role}, {}, build)


def compared(tmp_path, sides, judge, likelihoods=None):
    store = Store(tmp_path / "runs")
    found = {role: evaluated(store, role, replies(texts), (likelihoods or {}).get(role, ())) for role, texts in sides.items()}
    return compare(store, found, judge, found["base"], load("core"))


def test_an_empty_reply_loses_and_two_tie(tmp_path):
    """Empty on fifteen of twenty and better on the other five was once "100 %, n 5"."""
    judge = Longer()
    made = compared(tmp_path, {"base": [WORDS] * 20, "aligned": [""] * 15 + [f"{WORDS} {WORDS}"] * 5}, judge)
    found = made.read("figures.json")["aligned"]["win_rate"]
    assert (found["value"], found["n"]) == (0.25, 20) and "15 lost unread, as the reply is empty" in found["how"]
    assert "5 won, 15 lost, 0 tied" in found["how"] and judge.asked == [f"h{n}" for n in range(15, 20)]
    (pair,) = [one for one in made.read("pairs.json") if one["figure"] == "win_rate"]
    assert pair["value"] == -0.25 and pair["n"] == 20


def test_the_ways_in_which_outcomes_came_about_are_counted(tmp_path):
    base = ["", "", " ", WORDS, WORDS, WORDS]
    made = compared(tmp_path, {"base": base, "aligned": [WORDS, "", "", "", f"{WORDS} more", WORDS]}, Longer(silent=("h5",)))
    found = made.read("figures.json")["aligned"]["win_rate"]
    for told in ("1 won unread, as base's", "2 tied unread", "1 lost unread", "1 left out, as the judge gave no opinion"):
        assert told in found["how"]
    assert found["n"] == 5 and found["value"] == pytest.approx((1 + 0.5 + 0.5 + 0 + 1) / 5)


def test_sentences_follow_the_corrected_p_and_effects_have_intervals(tmp_path):
    """Losses that differ by chance alone would say "beyond chance", while the corrected p says nothing of the kind."""
    def loss(kind, name, values):
        return [{"kind": kind, "id": f"{kind}{n}", name: x, "tokens": 1} for n, x in enumerate(values)]

    small = [0.3, 0.1, 0.25, 0.4, 0.2, 0.15, -0.3, 0.35, 0.3, 0.2, -0.1, 0.3]
    sides = {"base": [WORDS] * 12, "aligned": [f"{WORDS} so"] * 12}
    rows = {
        role: [*loss("reference", "loss", [2 + on * x for x in small]), *loss("passage", "nats", [3 + on * (0.5 + n / 50) for n in range(12)])]
        for role, on in (("base", 0), ("aligned", 1))
    }
    pairs = {one["figure"]: one for one in compared(tmp_path, sides, None, rows).read("pairs.json")}
    weak, strong = pairs["reference_loss"], pairs["passage_loss"]
    assert weak["p"] < 0.05 < weak["p_holm"] and f"beyond chance by itself, but not after correction for {len(pairs)} comparisons" in weak["plain"]
    assert strong["p_holm"] < 0.05 and strong["plain"].endswith("beyond chance")
    assert weak["effect_ci"][0] < weak["effect"] < weak["effect_ci"][1]
