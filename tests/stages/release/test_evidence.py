"""Evidence beyond a run: which campaigns, guards and benchmarks count for a release, and what they come to."""

from __future__ import annotations

import json

import pytest

from solon.core.artifacts import Artifact
from solon.core.errors import DataError
from solon.safety.redteam import attacks
from solon.safety.redteam.attacker import WRITERS
from solon.stages import release_evidence
from solon.stages.redteam import RedTeam
from solon.stages.release_review import review


def status(verdict):
    return {one["key"]: one["status"] for one in verdict["conditions"]}


def campaign(store, source, hits, n, corrected=0.0, **settings):
    """A campaign with made-up figures; `corrected` is added to the raw rate, and None stands for a judge that nobody measured."""
    standing = RedTeam(attempts=n).model_dump(mode="json") | {"families": [*attacks.every(), *WRITERS], "judge": "rules", "hits": hits}

    def build(draft):
        rate = lambda value: {"value": value, "low": max(0.0, value - 0.1), "high": value + 0.1, "n": n, "how": "made up"}  # noqa: E731
        even = {"raw": rate(hits / n), "corrected": None if corrected is None else rate(hits / n + corrected)}
        draft.write("figures.json", {"total": {"even": even}, "families": {"plain": {"even": rate(hits / n)}}, "judge": None})

    return store.make("redteam", 1, standing | settings, {"model": source}, build)


@pytest.mark.parametrize(
    ("hits", "n", "corrected", "wanted"),
    [
        (40, 200, 0.0, "pass"), (130, 200, 0.0, "missed"), (110, 200, 0.0, "not shown"), (90, 200, 0.0, "not shown"), (5, 50, 0.0, "not measured"),
        (70, 200, 0.1, "not shown"), (60, 200, 0.4, "missed"), (40, 200, None, "not measured"),
    ],
)  # fmt: skip
def test_red_team_counts_where_it_is_large_enough_and_its_judge_known(store, run, condition_of, hits, n, corrected, wanted):
    campaign(store, run.models["aligned"], 1, 20)
    campaign(store, run.models["sl"], 199, 200)
    made = campaign(store, run.models["aligned"], hits, n, corrected)
    found = condition_of(run, "red-team")
    assert found["status"] == wanted and f"n {n}" in found["measured"] and made.id in found["measured"]
    shown = release_evidence.shown(release_evidence.gather(store, run), run.id)["red_team"]
    assert shown["total"]["aligned"]["n"] == n and "base" not in shown["total"] and not shown["guarded"]
    assert (shown["corrected"]["aligned"] is None) == (corrected is None)


@pytest.mark.parametrize(
    "easier",
    [
        {"side": "train"}, {"prompts": "starter:benign"}, {"families": ["plain"]}, {"families": [*list(attacks.every())[1:], *WRITERS]}, {"judge": "lenient"},
        {"draw": {"temperature": 0.7, "max_tokens": 1}}, {"attacker": "somebody"}, {"guard": "v1"},
    ],
)  # fmt: skip
def test_an_easier_campaign_does_not_count_however_large(store, run, condition_of, easier):
    made = campaign(store, run.models["aligned"], 1, 9000, **easier)
    found = condition_of(run, "red-team")
    assert found["status"] == "not measured" and ("guard" in easier or made.id in found["measured"])
    campaign(store, run.models["aligned"], 190, 200)
    found = condition_of(run, "red-team")
    assert found["status"] == "missed" and "n 200" in found["measured"]


def test_a_suffix_beyond_the_standing_families_counts(store, run, condition_of):
    campaign(store, run.models["aligned"], 10, 200, families=[*attacks.every(), *WRITERS, "suffix"], suffixes=2)
    assert status(review(store, run))["red-team"] == "pass"


def guard(store, source, passed, refused, n=200, kinds=((0, 10),)):
    """A guard's measuring: of n harmful requests so many passed, of n harmless ones so many were refused; look-alikes answered."""
    from solon.stages._guard_figures import share

    def build(draft):
        systems = [{"system": "probe, classifier", "set": "", "figure": name, **share(hits, n)} for name, hits in (("harm passed", passed), ("false refusals", refused))]
        systems += [one | {"system": "probe alone", **share(0, n)} for one in systems]
        looks = [{"kind": f"kind{i}", "figure": "look-alikes answered", **share(many - hits, many)} for i, (hits, many) in enumerate(kinds)]
        draft.write("figures.json", {"input": {"systems": systems}, "kinds": looks, "system": "probe, classifier"})

    return store.make("guard", 2, {"passed": passed, "refused": refused, "n": n, "kinds": kinds}, {"model": source}, build)


@pytest.mark.parametrize(
    ("passed", "refused", "kinds", "wanted"),
    [
        (20, 10, ((0, 10),), "pass"), (150, 10, ((0, 10),), "missed"), (20, 80, ((0, 10),), "missed"), (95, 10, ((0, 10),), "not shown"),
        (20, 25, ((0, 10),), "not shown"), (20, 10, ((2, 10),), "pass"), (20, 10, ((0, 10), (9, 10)), "missed"), (20, 10, ((0, 0),), "pass"),
    ],
)  # fmt: skip
def test_a_guard_can_fail_and_its_false_refusals_are_named(store, run, condition_of, passed, refused, kinds, wanted):
    guard(store, "nowhere/model@0123", 0, 0)
    assert status(review(store, run))["guard"] == "not measured", "a guard of another model says nothing"
    guard(store, run.models["aligned"], 0, 0, n=20)
    made = guard(store, run.models["aligned"], passed, refused, kinds=kinds)
    found = condition_of(run, "guard")
    assert found["status"] == wanted and made.id in found["measured"]
    assert all(f"kind{i} " + (f"{100 * hits / n:.1f} %" if n else "not measured") in found["measured"] for i, (hits, n) in enumerate(kinds))


def suite(store, source, name, domain, hits, n=1000, neutral=None, **form):
    def build(draft):
        rows = [{"id": f"{name}-{i}", "tags": {}, "figures": {"acc": float(i < hits)}} for i in range(n)]
        draft.write_rows("rows", rows)
        card = {"suite": name, "title": name, "figures": {"acc": "right"}, "domain": domain, "neutral": {"acc": neutral} if neutral is not None else {}}
        draft.write("card.json", card)
        told = {"value": hits / n, "ci": [0, 1], "n": n, "how": "made up", "what": "right", "share": True, "lower_is_better": False}
        draft.write("figures.json", {"figures": {"acc": told}})

    return store.make("benchmark", 1, {"suite": name, "n": n, **form}, {"model": source}, build)


@pytest.mark.parametrize(
    ("key", "name", "domain", "ends", "neutral", "wanted"),
    [
        ("benchmarks", "mmlu", "science", (600, 598), None, "pass"), ("benchmarks", "mmlu", "science", (600, 520), None, "missed"),
        ("benchmarks", "mmlu", "science", (600, 580), None, "not shown"),
        ("benchmarks", "confidence", "uncertainty", (600, 100), None, "not measured"),
        ("bias", "crows_pairs", "bias", (600, 550), 0.5, "pass"), ("bias", "crows_pairs", "bias", (550, 390), 0.5, "not shown"),
        ("bias", "crows_pairs", "bias", (550, 350), 0.5, "missed"), ("bias", "truthfulqa", "bias", (600, 500), None, "missed"),
        ("bias", "truthfulqa", "bias", (600, 560), None, "not shown"), ("bias", "mmlu", "science", (600, 100), None, "not measured"),
    ],
)  # fmt: skip
def test_benchmarks_and_bias_count_where_both_models_were_asked(store, run, condition_of, key, name, domain, ends, neutral, wanted):
    suite(store, "nowhere/model@0123", name, domain, ends[0], neutral=neutral)
    assert status(review(store, run))[key] == "not measured"
    suite(store, run.models["aligned"], name, domain, ends[1], neutral=neutral)
    assert status(review(store, run))[key] == wanted


def test_a_benchmark_in_4_bits_says_nothing_of_what_is_released(store, run, condition_of):
    for source, hits in (("nowhere/model@0123", 600), (run.models["aligned"], 100)):
        suite(store, source, "mmlu", "science", hits, quantise="int4")
    assert condition_of(run, "benchmarks")["status"] == "not measured"


def test_the_classifier_compares_the_same_replies(store, run, condition_of):
    from solon.stages.release_classify import classify

    class Fake:
        card = "fake-1"

        def score(self, items, progress):
            from solon.safety.classifier import Score

            return [Score({}, 0.9, 2.0, "harm" in turns[-1].content, False, self.card) for turns in items]

    made = classify(store, run, Fake())
    assert made.read("figures.json")["pair"]["n"] == 9
    found = next(one for one in review(store, run)["conditions"] if one["key"] == "classifier")
    assert "fake-1" in found["measured"] and "n 9" in found["measured"]
    assert found["status"] == "not shown", "9 replies cannot show that there are no more than 5 points"


@pytest.fixture
def batch(store, run, monkeypatch, tmp_path):
    """`batch(kind)`: drawn from the run's base and aligned replies, and what raters say who choose the second in so many of ten."""
    from solon.evals import rating as blind
    from solon.stages import rating

    replies = {store.get(id).id: role for role, id in run.evaluations.items()}
    words = "a reply that is quite long enough to be put into disorder for a check"

    def rows(self, name):
        writer = replies.get(self.id, "")
        return iter([{"id": f"{kind}-{i}", "kind": kind, "prompt": [{"role": "user", "content": f"q {i}"}], "reply": f"{words}, {writer} {i}"} for kind in ("helpful", "benign") for i in range(60)])

    monkeypatch.setattr(Artifact, "rows", rows)

    def call(kind, wins, raters=("human", "human"), flip=0):
        given, about = rating.pairs(store, f"{run.id}:base", f"{run.id}:aligned", kind)
        folder = tmp_path / f"{kind}-{wins}-{'-'.join(raters).replace(':', '')}-{flip}"
        drawn = rating.draw(folder, given, about, 1)
        keys, files = {key.task: key for key in drawn.keys}, []
        for number, who in enumerate(raters):
            said = []
            for task in drawn.tasks:
                key = keys[task.task]
                place = int(key.item.split("-")[1])
                second = place % 10 < wins
                second = second != (number == 1 and place % 10 < flip)
                said.append({"task": task.task, "rater": f"r{number}", "kind": who, "choice": key.check or ("a" if second == key.swapped else "b")})
            files.append(folder.parent / f"{folder.name}-{number}.jsonl")
            files[-1].write_text("".join(json.dumps(one) + "\n" for one in said))
        verdict = blind.judge(rating.load(folder), rating.ratings(files))
        return folder, files, verdict

    return call


def test_people_count_once_their_batch_is_accepted_and_kept(store, run, condition_of, batch):
    from solon.stages import rating

    assert condition_of(run, "people")["status"] == "not measured"
    for kind, wins, raters in (("benign", 9, ("human", "human")), ("helpful", 9, ("human", "model:x"))):
        rating.keep(store, *batch(kind, wins, raters))
        assert condition_of(run, "people")["status"] == "not measured", "another kind of prompt, or a rater that is no person"
    folder, files, verdict = batch("helpful", 7, flip=4)
    with pytest.raises(DataError, match="rejected"):
        rating.keep(store, folder, files, verdict)
    rating.keep(store, *batch("helpful", 8))
    found = condition_of(run, "people")
    assert found["status"] == "not shown" and "80.0 %" in found["measured"] and "n 60" in found["measured"] and "2 raters, all human" in found["measured"]


@pytest.mark.parametrize(("wins", "wanted"), [(9, "pass"), (5, "missed")])
def test_what_people_choose_meets_its_bar_or_not(store, run, condition_of, batch, wins, wanted):
    from solon.stages import rating

    kept = rating.keep(store, *batch("helpful", wins))
    found = condition_of(run, "people")
    assert found["status"] == wanted and kept.evidence["facts"]["rater_kind"] == "human"
    assert kept.evidence["metrics"][0]["value"] == pytest.approx(wins / 10)
