"""Evidence beyond a run: which campaigns, guards and benchmarks count for a release, and what they come to."""

from __future__ import annotations

import json

import numpy as np
import pytest

from solon.core.artifacts import Artifact
from solon.core.errors import DataError
from solon.safety import classifier
from solon.safety.redteam import attacks
from solon.safety.redteam.attacker import WRITERS
from solon.stages import guarding, release_evidence, screened
from solon.stages.benchmark import BUNDLES
from solon.stages.readiness import readiness
from solon.stages.redteam import RedTeam
from solon.stages.release_review import review


def status(verdict):
    return {one["key"]: one["status"] for one in verdict["conditions"]}


def campaign(store, source, hits, n, corrected=0.0, version=1, **settings):
    """A campaign with made-up figures; `corrected` is added to the raw rate, and None stands for a judge that nobody measured."""
    standing = RedTeam(attempts=n).model_dump(mode="json") | {"families": [*attacks.every(), *WRITERS], "judge": "rules", "hits": hits}

    def build(draft):
        rate = lambda value: {"value": value, "low": max(0.0, value - 0.1), "high": value + 0.1, "n": n, "how": "made up"}  # noqa: E731
        even = {"raw": rate(hits / n), "corrected": None if corrected is None else rate(hits / n + corrected)}
        draft.write("figures.json", {"total": {"even": even}, "families": {"plain": {"even": rate(hits / n)}}, "judge": None})

    return store.make("redteam", version, standing | settings, {"model": source}, build)


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


def test_of_one_campaign_the_figures_that_were_made_last_count(store, run, condition_of):
    made = [campaign(store, run.models["aligned"], 150, 200, version=version) for version in range(1, 7)]
    assert made[-1].id in condition_of(run, "red-team")["measured"]


def test_a_suffix_beyond_the_standing_families_counts(store, run, condition_of):
    campaign(store, run.models["aligned"], 10, 200, families=[*attacks.every(), *WRITERS, "suffix"], suffixes=2)
    assert status(review(store, run))["red-team"] == "pass"


def guard(store, source, passed, refused, n=200, kinds=((0, 10),), card=""):
    """A guard's measuring: of n harmful requests so many passed, of n harmless ones so many were refused; look-alikes answered."""
    from solon.stages._guard_figures import share

    def build(draft):
        systems = [{"system": "probe, classifier", "set": "", "figure": name, **share(hits, n)} for name, hits in (("harm passed", passed), ("false refusals", refused))]
        systems += [one | {"system": "probe alone", **share(0, n)} for one in systems]
        looks = [{"kind": f"kind{i}", "figure": "look-alikes answered", **share(many - hits, many)} for i, (hits, many) in enumerate(kinds)]
        draft.write("figures.json", {"input": {"systems": systems}, "kinds": looks, "system": "probe, classifier"})

    inputs = {"model": source, "classifier": card or classifier.card()["id"]}
    return store.make("guard", guarding.MEASURED, {"passed": passed, "refused": refused, "n": n, "kinds": kinds}, inputs, build)


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
    guard(store, run.models["aligned"], 0, 0, n=5000, card="an older head")
    guard(store, run.models["aligned"], 0, 0, n=20)
    made = guard(store, run.models["aligned"], passed, refused, kinds=kinds)
    found = condition_of(run, "guard")
    assert found["status"] == wanted and made.id in found["measured"]
    assert all(f"kind{i} " + (f"{100 * hits / n:.1f} %" if n else "not measured") in found["measured"] for i, (hits, n) in enumerate(kinds))


@pytest.mark.parametrize(
    ("hits", "n", "wanted"),
    [(3, 10_000, "pass"), (9, 10_000, "not shown"), (80, 10_000, "missed"), (0, 9_000, "not measured"), (4, 500, "missed"), (1, 500, "not measured"), (30, 60_000, "pass")],
)  # fmt: skip
def test_the_target_of_the_plan_is_judged_by_the_exact_interval(store, run, condition_of, hits, n, wanted):
    from scipy.stats import binomtest

    assert condition_of(run, "red-team-target")["status"] == "not measured"
    campaign(store, "nowhere/model@0123", 80, 10_000)
    campaign(store, run.models["aligned"], hits, n)
    found = condition_of(run, "red-team-target")
    ends = binomtest(hits, n).proportion_ci(0.95, "exact")
    assert found["status"] == wanted and f"({100 * ends.low:.3f} to {100 * ends.high:.3f})" in found["measured"] and "base alone 0.800 %" in found["measured"]
    assert found["command"] == f"solon redteam {run.id}:base {run.id}:aligned --attempts 10000 --even 1"
    campaign(store, run.models["aligned"], 90, 10_000, guard="v1")
    found = condition_of(run, "red-team-target")
    assert found["status"] == "missed" and f"{n:,}, " in found["measured"] and "behind its guard 90 of 10,000" in found["measured"]


def suite(store, source, name, domain, hits, n=1000, neutral=None, judge=None, **form):
    def build(draft):
        rows = [{"id": f"{name}-{i}", "tags": {}, "figures": {"acc": float(i < hits)}} for i in range(n)]
        draft.write_rows("rows", rows)
        card = {"suite": name, "title": name, "figures": {"acc": "right"}, "domain": domain, "neutral": {"acc": neutral} if neutral is not None else {}, "numbers": []}
        draft.write("card.json", card)
        told = {"value": hits / n, "ci": [0, 1], "n": n, "how": "made up", "what": "right", "share": True, "lower_is_better": False}
        draft.write("figures.json", {"figures": {"acc": told}})

    return store.make("benchmark", 1, {"suite": name, "n": n, **form}, {"model": source} | ({"judge": judge} if judge else {}), build)


def bundle(store, run, but=()):
    """Every suite of the bundle but some, on both models, with nothing lost."""
    for source in ("nowhere/model@0123", run.models["aligned"]):
        for name in set(BUNDLES["capability"]) - set(but):
            suite(store, source, name, "science", 600)


def both(store, run, name, before, after, **more):
    for source, hits in (("nowhere/model@0123", before), (run.models["aligned"], after)):
        suite(store, source, name, "science", hits, **more)


@pytest.mark.parametrize(
    ("key", "name", "domain", "ends", "neutral", "wanted"),
    [
        ("benchmarks", "mmlu", "science", (600, 598), None, "pass"), ("benchmarks", "mmlu", "science", (600, 520), None, "missed"),
        ("benchmarks", "mmlu", "science", (600, 580), None, "not shown"),
        ("bias", "crows_pairs", "bias", (600, 550), 0.5, "pass"), ("bias", "crows_pairs", "bias", (550, 390), 0.5, "not shown"),
        ("bias", "crows_pairs", "bias", (550, 350), 0.5, "missed"), ("bias", "truthfulqa", "bias", (600, 500), None, "missed"),
        ("bias", "truthfulqa", "bias", (600, 560), None, "not shown"), ("bias", "mmlu", "science", (600, 100), None, "not measured"),
    ],
)  # fmt: skip
def test_benchmarks_and_bias_count_where_both_models_were_asked(store, run, condition_of, key, name, domain, ends, neutral, wanted):
    bundle(store, run, [name])
    suite(store, "nowhere/model@0123", name, domain, ends[0], neutral=neutral)
    assert status(review(store, run))[key] == "not measured"
    suite(store, run.models["aligned"], name, domain, ends[1], neutral=neutral)
    assert status(review(store, run))[key] == wanted


def test_a_benchmark_in_4_bits_says_nothing_of_what_is_released(store, run, condition_of):
    for source, hits in (("nowhere/model@0123", 600), (run.models["aligned"], 100)):
        suite(store, source, "mmlu", "science", hits, quantise="int4")
    assert condition_of(run, "benchmarks")["status"] == "not measured"


def test_one_large_benchmark_is_not_all_of_them(store, run, condition_of):
    both(store, run, "mmlu", 600, 600)
    found = condition_of(run, "benchmarks")
    assert found["status"] == "not measured" and "not measured: gsm8k, humaneval, mbpp, ifeval, literature" in found["measured"]
    bundle(store, run, ["mmlu"])
    assert condition_of(run, "benchmarks")["status"] == "pass"
    shown = release_evidence.shown(release_evidence.gather(store, run), run.id)["capability"]["rows"]
    assert {row["suite"] for row in shown} == set(BUNDLES["capability"]) and all(set(row["models"]) == {"base", "aligned"} for row in shown)
    both(store, run, "confidence", 600, 100)
    assert condition_of(run, "benchmarks")["status"] == "missed", "the suite's domain says what it is, not its name"


@pytest.mark.parametrize(
    ("n", "before", "after", "wanted"), [(82, 33, 8, "missed"), (82, 33, 26, "missed"), (99, 60, 54, "not shown"), (82, 33, 29, "pass"), (82, 33, 33, "pass")]
)
def test_a_small_benchmark_can_fail_a_release_and_is_named(store, run, condition_of, n, before, after, wanted):
    """A fall counts where McNemar's exact test finds it: of what was lost nothing was won back."""
    from scipy.stats import binomtest

    bundle(store, run, ["humaneval"])
    both(store, run, "humaneval", before, after, n=n)
    found = condition_of(run, "benchmarks")
    assert found["status"] == wanted and f"humaneval acc n {n}" in found["measured"] and "too small to show that nothing fell" in found["measured"]
    assert (wanted == "pass") == (after == before or binomtest(0, before - after).pvalue > 0.05)


@pytest.mark.parametrize("setting", [{"max_tokens": 1}, {"temperature": 0.7}, {"samples": 2}, {"seed": 1}, {"until": "2020-01-01"}])
def test_a_benchmark_asked_in_another_way_does_not_count(store, run, condition_of, setting):
    bundle(store, run, ["mmlu"])
    both(store, run, "mmlu", 600, 600, n=2000, **setting)
    found = condition_of(run, "benchmarks")
    (name, value) = next(iter(setting.items()))
    assert found["status"] == "not measured" and f"({name} {value!r})" in found["measured"]


def test_models_graded_by_two_judges_are_not_compared(store, run, condition_of):
    bundle(store, run, ["mmlu"])
    suite(store, "nowhere/model@0123", "mmlu", "science", 600, judge="one@1")
    suite(store, run.models["aligned"], "mmlu", "science", 600, judge="two@2")
    assert condition_of(run, "benchmarks")["status"] == "not measured"
    suite(store, run.models["aligned"], "mmlu", "science", 600, judge="one@1")
    assert condition_of(run, "benchmarks")["status"] == "pass"


def swapped(store, source, harm, requests=30):
    """The suite `swaps` with made-up harm of the replies to each group of one axis."""
    from dataclasses import asdict

    from solon.evals.suites import swaps
    from solon.stages._benchmark_scores import by_group, scored

    noise = np.random.default_rng(int("@" in source)).normal(0, 0.02, (requests, len(harm)))
    rows = [
        {"id": f"{i}/{group}", "tags": {"group": f"r{i}", "axis": "gender", "who": f"gender: {group}"}, "figures": {}, "chance": {}, "tallies": {"harm": value + noise[i, j], "refusal": 0.0, "words": 10.0}}
        for i in range(requests) for j, (group, value) in enumerate(harm.items())
    ]  # fmt: skip
    groups, card = swaps.gather(rows), {"suite": "swaps", **asdict(swaps.CARD)}

    def build(draft):
        draft.write_rows("rows", rows)
        draft.write_rows("groups", groups)
        draft.write("card.json", card)
        draft.write("figures.json", {"figures": scored(swaps.CARD, swaps.SCORES, groups), "groups": by_group(swaps.CARD, swaps.SCORES, groups)})

    return store.make("benchmark", 1, {"suite": "swaps"}, {"model": source}, build)


@pytest.mark.parametrize(("man", "wanted"), [(0.38, "missed"), (0.12, "pass")])
def test_harm_that_falls_on_average_and_rises_for_one_group_is_bias(store, run, condition_of, man, wanted):
    swapped(store, "nowhere/model@0123", {"man": 0.4, "woman": 0.4, "non-binary": 0.4})
    swapped(store, run.models["aligned"], {"man": man, "woman": 0.1, "non-binary": 0.1})
    found = condition_of(run, "bias")
    assert found["status"] == wanted and ("harm_gap of gender: man" in found["measured"]) == (wanted == "missed")
    shown = release_evidence.shown(release_evidence.gather(store, run), run.id)["bias"]["rows"]
    told = [row for row in shown if row["figure"] == "harm_gap of gender: man"]
    assert len(told) == (wanted == "missed") and all(row["models"]["aligned"]["value"] == pytest.approx(man - 0.1, abs=0.02) for row in told)


def test_one_request_shows_no_bias_of_a_group(store, run, condition_of):
    """One cluster has no interval, so its figures neither pass nor fail."""
    swapped(store, "nowhere/model@0123", {"man": 0.4, "woman": 0.4, "non-binary": 0.4}, requests=1)
    swapped(store, run.models["aligned"], {"man": 0.9, "woman": 0.1, "non-binary": 0.1}, requests=1)
    found = condition_of(run, "bias")
    assert found["status"] == "not shown" and "not beyond chance: swaps harm_gap of gender: man" in found["measured"]


def alike(store, source, **ends):
    """The suite `consistency` with these figures (value, low, high)."""

    def build(draft):
        figures = {name: {"value": value, "ci": [low, high], "n": 100, "how": "made up", "what": "", "share": True, "lower_is_better": False} for name, (value, low, high) in ends.items()}
        draft.write("card.json", {"suite": "consistency", "title": "Consistency", "figures": {}, "domain": "behaviour"})
        draft.write("figures.json", {"figures": figures})

    return store.make("benchmark", 1, {"suite": "consistency"}, {"model": source}, build)


GOOD = (0.95, 0.92, 0.98)


@pytest.mark.parametrize(
    ("ends", "wanted"),
    [
        ({}, "pass"), ({"seed": (0.85, 0.8, 0.89)}, "missed"), ({"option_order": (0.92, 0.89, 0.95)}, "not shown"), ({"paraphrase": None}, "not measured"),
        ({"seed": (1.0, 1.0, 1.0)}, "pass"),
    ],
)  # fmt: skip
def test_consistency_is_over_wordings_seeds_and_orders_where_they_were_asked(store, run, condition_of, ends, wanted):
    assert condition_of(run, "consistency")["status"] == "pass", "the recipe's own paraphrases"
    figures = {name: one for name, one in ({"paraphrase": GOOD, "seed": GOOD, "option_order": GOOD} | ends).items() if one}
    alike(store, run.models["aligned"], **figures)
    found = condition_of(run, "consistency")
    assert found["status"] == wanted and f"seeds {100 * figures['seed'][0]:.1f} %" in found["measured"]
    sft = {one["key"]: one for one in readiness(store, run, "sft")["components"]}
    assert sft["consistency"]["status"] == "pass" and "not over seeds" in sft["consistency"]["measured"], "the helpful model was not asked"
    alike(store, run.models["helpful"], **figures)
    assert {one["key"]: one["status"] for one in readiness(store, run, "sft")["components"]}["consistency"] == wanted


def test_the_verdict_of_another_head_does_not_count(store, run, condition_of, monkeypatch):
    from solon.stages.release_classify import classify

    class Fake:
        card = "old-head"

        def score(self, items, progress):
            from solon.safety.classifier import Score

            return [Score({}, 0.9, 2.0, False, False, self.card) for turns in items]

    classify(store, run, Fake())
    assert condition_of(run, "classifier")["status"] == "not measured"
    monkeypatch.setattr("solon.safety.classifier.card", lambda: {"id": "old-head"})
    assert "old-head" in condition_of(run, "classifier")["measured"]


def test_the_classifier_compares_the_same_replies(store, run, condition_of, monkeypatch):
    from solon.stages.release_classify import classify

    monkeypatch.setattr("solon.safety.classifier.card", lambda: {"id": "fake-1"})

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


class Counted:
    """Stands in for a classifier whose opinion is known: it flags replies that hold a word, and can be another head's."""

    def __init__(self, card):
        self.card = card

    def score(self, items, progress=None):
        return [classifier.Score({}, 0.5, 1.0, "worse" in turns[-1].content, False, self.card) for turns in items]


def test_all_that_was_trained_on_has_to_be_seen_by_todays_classifier(store, run, condition_of):
    assert condition_of(run, "screened")["status"] == "not measured"
    screened.screened(store, run, Counted("an older head"))
    assert condition_of(run, "screened")["status"] == "not measured"
    screened.screened(store, run, Counted(classifier.card()["id"]))
    found = condition_of(run, "screened")
    rows = sum(1 for id in run.models.values() for one in store.get(id).rows("rows"))
    assert rows and f"{rows} of {rows} rows scored" in found["measured"] and found["status"] == "pass"
