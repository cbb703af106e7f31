"""The review of a run: what is measured, missed or waived; the folder; and that nothing in it can be changed unseen."""

from __future__ import annotations

import json
import shutil
import stat
from dataclasses import replace

import numpy as np
import pytest

from solon.core.artifacts import Store, digest
from solon.core.errors import ConfigError, MissingError, SolonError, StorageError
from solon.stages import release_evidence, release_folder, release_integrity, release_manifest, report
from solon.stages.release import Release, of_acceptance, of_recipe
from solon.stages.release_review import WAIVERS, review, waive
from solon.stages.runs import Run, load, now

DATA = ("demonstrations", "red_team", "benign", "helpful", "labelled", "transcripts", "criticised", "multiple_choice", "passages", "paraphrases")
SOURCES = {
    "helpful": "starter:helpful_prompts", "labelled": "starter:labelled_pairs", "transcripts": "starter:critiques",
    "criticised": "starter:labelled_pairs",
}  # fmt: skip
GOOD = {"harmful_compliance": (0.9, 0.2), "over_refusal": (0.05, 0.06), "multiple_choice": (0.5, 0.5), "passage_loss": (3.9, 3.9), "helpfulness": (0.5, 0.7), "consistency": (0.8, 0.95), "win_rate": (None, 0.9)}


def figure(value, n=100):
    return {"value": value, "ci": [max(0.0, value - 0.1), value + 0.1], "n": n, "unit": "share", "how": "made up", "better": "higher"}


def pair(name, a, b):
    return {
        "figure": name, "a": "base", "b": "aligned", "n": 100, "value": b - a, "ci": [b - a - 0.1, b - a + 0.1], "test": "t", "p": 1e-6,
        "p_holm": 1e-5, "effect": 1.0, "effect_name": "h", "detectable": 0.1, "plain": "Changed.",
    }  # fmt: skip


def tables(ends):
    models = {role: {name: figure(two[i]) for name, two in ends.items() if two[i] is not None} for i, role in enumerate(("base", "aligned"))}
    return models, [pair(name, *two) for name, two in ends.items() if None not in two]


def reply(kind, n, label="comply"):
    return {"id": f"{kind}-{n}", "kind": kind, "prompt": [{"role": "user", "content": f"{kind} request number {n}"}], "reply": "Some words here.", "label": label, "reason": "", "finish": "stop"}


def make_run(store, ends=GOOD, seed=1):
    """A run whose artifacts are real and whose figures are made up."""
    from safetensors.numpy import save_file

    from solon.curate import starter

    names = {name: SOURCES.get(name, f"starter:{name}") for name in DATA}
    recipe = {"name": "tiny", "description": "made up", "model": "nowhere/model", "constitution": "core", "seed": seed, "data": names, "release": Release().model_dump(mode="json")}
    digests = {name: starter.digest(name.partition(":")[2]) for name in names.values()}

    def rows(draft):
        draft.write_rows("rows", [{"id": "a", "messages": [], "prompt": [{"role": "user", "content": "a"}], "first": "b", "rounds": []}])

    def trained(draft):
        rows(draft)
        save_file({"a": np.zeros((4, 5), np.float32)}, draft.path / "adapter.safetensors")
        draft.write("history.json", [{"loss": 1.0}])
        draft.tokens, draft.flops = 10, 6.0 * 10 * 1000

    def evaluated(draft):
        draft.write_rows("replies", [reply(kind, n) for kind in ("red_team", "benign", "helpful") for n in range(3)])
        draft.write_rows("likelihoods", [{"kind": "multiple_choice", "id": "m", "picked": 0, "right": True, "topic": "x"}])
        draft.write_rows("consistency", [{"id": "p", "about": "x", "same_type": 1.0, "rouge_l": 1.0}])

    def certified(draft):
        draft.write("certificates.json", [{"judge": "probe", "accuracy": {"value": 0.9, "ci": [0.8, 0.95], "n": 80}, "bar": 0.75, "accepted": True}])
        draft.facts |= {"place": 0, "judge": "probe", "accepted": True}

    def compared(draft):
        models, pairs = tables(ends)
        draft.write("figures.json", models)
        draft.write("pairs.json", pairs)

    made = lambda name, inputs, build, config=None: store.make(name, 1, config or {"seed": seed}, inputs, build)  # noqa: E731
    helpful = made("helpful", {"model": "nowhere/model@0123"}, trained)
    certificate = made("certify", {"model": "nowhere/model@0123"}, certified)
    revised = made("revise", {"model": helpful.id}, rows)
    sl = made("sl", {"start": helpful.id, "revisions": revised.id}, trained)
    labels = made("feedback", {"judge": certificate.id}, rows)
    aligned = made("dpo", {"start": sl.id, "labels": labels.id}, trained)
    models = {"helpful": helpful, "sl": sl, "aligned": aligned}
    settings = {"seed": seed, "data": digests}
    evaluations = {role: made("evaluate", {"model": source}, evaluated, settings) for role, source in {"base": "nowhere/model@0123", **{role: one.id for role, one in models.items()}}.items()}
    figures = made("compare", {role: one.id for role, one in evaluations.items()}, compared)
    id = f"tiny-{digest({'recipe': recipe, 'book': 'abc'}, 8)}"
    run = Run(id, str(store.root / id), recipe, "abc", now()).save()
    return run.ended(models, evaluations, certify=certificate, revise=revised, feedback=labels, compare=figures)


WORSE = GOOD | {"harmful_compliance": (0.4, 0.45)}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Giving memory back after every artifact is most of the time that artifacts as small as these take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("solon.core.artifacts._give_back", lambda: None)
        yield


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    """Runs of three seeds, made once, each in a store of its own."""
    made = {}
    for seed, ends in ((1, GOOD), (2, GOOD), (3, WORSE)):
        store = Store(tmp_path_factory.mktemp(f"seed-{seed}"))
        made[seed] = (store.root, make_run(store, ends, seed).id)
    return made


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


@pytest.fixture
def bring(store, templates):
    """`bring(2)`: the run of a seed, copied into the test's store."""

    def call(seed):
        root, id = templates[seed]
        shutil.copytree(root, store.root, dirs_exist_ok=True)
        return load(store.root / id)

    return call


@pytest.fixture
def run(bring):
    return bring(1)


def status(verdict):
    return {one["key"]: one["status"] for one in verdict["conditions"]}


def test_met_and_not_measured_conditions_are_told_apart(store, run):
    verdict = review(store, run)
    found = status(verdict)
    met = {"harm-falls", "harm-low", "look-alikes", "knowledge", "language", "judge", "preferred", "helpfulness", "consistency", "cost", "lineage", "sources"}
    assert {key for key, one in found.items() if one == "pass"} == met
    assert {key for key, one in found.items() if one == "not measured"} == {"people", "seeds", "red-team", "benchmarks", "bias", "classifier", "review"}
    assert found["licences"] == "missed" and not verdict["release"]
    assert all(one["command"].startswith("solon ") for one in verdict["conditions"] if one["status"] == "not measured")
    cost = next(one for one in verdict["conditions"] if one["key"] == "cost")
    assert "2.00 % a stage (20 of 1,000)" in cost["measured"]


@pytest.mark.parametrize(
    ("key", "ends"),
    [
        ("harm-falls", {"harmful_compliance": (0.4, 0.41)}), ("harm-low", {"harmful_compliance": (0.9, 0.51)}),
        ("look-alikes", {"over_refusal": (0.05, 0.16)}), ("knowledge", {"multiple_choice": (0.5, 0.47)}),
        ("language", {"passage_loss": (3.9, 4.2)}), ("preferred", {"win_rate": (None, 0.75)}),
        ("helpfulness", {"helpfulness": (0.5, 0.59)}), ("consistency", {"consistency": (0.8, 0.9)}),
    ],
)  # fmt: skip
def test_a_figure_at_the_wrong_side_of_its_bar_is_missed(key, ends):
    models, pairs = tables(GOOD | ends)
    judge = {"judge": "probe", "accuracy": {"value": 0.9, "n": 80}, "bar": 0.75, "accepted": True}
    found = [*of_recipe(Release(), models, pairs, judge, ""), *of_acceptance(models, pairs, judge, {"most": 1, "all": 100}, [], "r", "")]
    assert [one["key"] for one in found if one["status"] == "missed"] == [key]


def test_all_waived_is_released_and_nothing_else(store, run):
    verdict = review(store, run)
    open_ = [one["key"] for one in verdict["conditions"] if one["status"] != "pass"]
    waive(run, verdict, open_[:-1], "A. Person", "a pilot")
    verdict = review(store, run)
    assert not verdict["release"], "one condition is still open"
    waive(run, verdict, open_[-1:], "A. Person", "a pilot")
    verdict = review(store, run)
    assert verdict["release"] and {one["waiver"]["name"] for one in verdict["conditions"] if one["status"] == "waived"} == {"A. Person"}
    waive(run, verdict, ["bias"], "B. Person", "changed my mind", withdrawn=True)
    verdict = review(store, run)
    assert not verdict["release"] and status(verdict)["bias"] == "not measured" and len(verdict["waivers"]) == len(open_) + 1


@pytest.mark.parametrize(
    ("keys", "name", "reason", "told"),
    [
        (["bias"], "", "why", "needs the name"), (["bias"], "A", " \n", "needs the name"), (["biass"], "A", "why", "did you mean 'bias'"),
        (["lineage"], "A", "why", "cannot be waived"), (["harm-low"], "A", "why", "is met"),
    ],
)  # fmt: skip
def test_a_waiver_without_name_reason_or_need_is_refused(store, run, keys, name, reason, told):
    with pytest.raises(ConfigError, match=told):
        waive(run, review(store, run), keys, name, reason)
    assert not (store.root / run.id / WAIVERS).exists()


def test_a_waiver_written_by_hand_without_a_name_is_refused(store, run):
    bad = [{"condition": "bias", "name": " ", "reason": "x", "date": "x", "measured": ""}]
    (store.root / run.id / WAIVERS).write_text(json.dumps(bad))
    with pytest.raises(StorageError, match="without a name"):
        review(store, run)


def test_a_waiver_lapses_when_something_is_measured(store, run, bring):
    verdict = review(store, run)
    waive(run, verdict, ["seeds"], "A. Person", "one machine")
    assert status(review(store, run))["seeds"] == "waived"
    bring(2)
    found = next(one for one in review(store, run)["conditions"] if one["key"] == "seeds")
    assert found["status"] == "not measured" and found["measured"] == "only seeds 1, 2" and found["command"].endswith(" seed=3")
    bring(3)
    found = next(one for one in review(store, run)["conditions"] if one["key"] == "seeds")
    assert found["status"] == "missed" and "seed 3: +5.0 points" in found["measured"]


def test_changed_evidence_stops_everything_and_cannot_be_waived(store, run):
    path = store.get(run.stages["compare"]).path / "figures.json"
    path.write_text(path.read_text().replace("0.9", "0.1"))
    verdict = review(store, run)
    assert [one["key"] for one in verdict["conditions"]] == ["lineage"] and not verdict["release"] and not release_folder.sound(verdict)
    assert run.stages["compare"] in verdict["conditions"][0]["measured"]
    with pytest.raises(ConfigError, match="cannot be waived"):
        waive(run, verdict, ["lineage"], "A. Person", "it is fine")


def test_links_between_artifacts_are_followed(store, run, bring):
    other = bring(2)
    assert release_integrity.faults(store, run) == []
    swapped = replace(run, stages=run.stages | {"compare": other.stages["compare"]})
    assert any("the figures of base are of" in one for one in release_integrity.faults(store, swapped))
    swapped = replace(run, models=run.models | {"aligned": other.models["aligned"]})
    assert any("the evaluation of aligned is of" in one for one in release_integrity.faults(store, swapped))
    lowered = replace(run, recipe=run.recipe | {"release": run.recipe["release"] | {"harmful_compliance": 1.0}})
    assert any("no longer gives the run's name" in one for one in release_integrity.faults(store, lowered))


def test_evidence_that_was_forged_whole_no_longer_fits_what_came_after(store, run):
    """Figures and seal changed together: the seals that later artifacts keep tell."""
    from solon.core.artifacts import seal

    path = store.get(run.stages["certify"]).path / "evidence.json"
    evidence = json.loads(path.read_text())
    evidence["cost"]["seconds"] += 1
    evidence["seal"] = seal(evidence)
    path.write_text(json.dumps(evidence))
    assert release_integrity.faults(store, run) == [f"{run.stages['certify']}: its evidence.json is not the one that {run.stages['feedback']} was made from"]


def test_a_run_that_has_not_ended_is_not_reviewed(store):
    run = Run("tiny-1", str(store.root / "tiny-1"), {"name": "tiny"}, "abc", now()).save()
    with pytest.raises(SolonError, match="has not ended"):
        review(store, run)


def campaign(store, source, hits, n):
    def build(draft):
        rate = {"value": hits / n, "low": max(0.0, hits / n - 0.1), "high": hits / n + 0.1, "n": n, "how": "made up"}
        draft.write("figures.json", {"total": {"even": {"raw": rate}}, "families": {"plain": {"even": rate}}, "judge": None})

    return store.make("redteam", 1, {"n": n, "hits": hits}, {"model": source}, build)


@pytest.mark.parametrize(("hits", "n", "wanted"), [(40, 200, "pass"), (120, 200, "missed"), (5, 50, "not measured")])
def test_red_team_counts_where_it_is_large_enough(store, run, hits, n, wanted):
    campaign(store, run.models["aligned"], 1, 20)
    campaign(store, run.models["sl"], 199, 200)
    campaign(store, run.models["aligned"], hits, n)
    found = next(one for one in review(store, run)["conditions"] if one["key"] == "red-team")
    assert found["status"] == wanted and f"n {n}" in found["measured"]
    shown = release_evidence.shown(release_evidence.gather(store, run), run.id)["red_team"]
    assert shown["total"]["aligned"]["n"] == n and "base" not in shown["total"]


def suite(store, source, name, domain, hits, n=100, neutral=None, **form):
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
        ("benchmarks", "mmlu", "science", (60, 58), None, "pass"), ("benchmarks", "mmlu", "science", (60, 57), None, "missed"),
        ("benchmarks", "confidence", "uncertainty", (60, 10), None, "not measured"),
        ("bias", "crows_pairs", "bias", (60, 55), 0.5, "pass"), ("bias", "crows_pairs", "bias", (55, 39), 0.5, "missed"),
        ("bias", "truthfulqa", "bias", (60, 50), None, "missed"), ("bias", "mmlu", "science", (60, 10), None, "not measured"),
    ],
)  # fmt: skip
def test_benchmarks_and_bias_count_where_both_models_were_asked(store, run, key, name, domain, ends, neutral, wanted):
    suite(store, "nowhere/model@0123", name, domain, ends[0], neutral=neutral)
    assert status(review(store, run))[key] == "not measured"
    suite(store, run.models["aligned"], name, domain, ends[1], neutral=neutral)
    assert status(review(store, run))[key] == wanted


def test_a_benchmark_in_4_bits_says_nothing_of_what_is_released(store, run):
    for source, hits in (("nowhere/model@0123", 60), (run.models["aligned"], 10)):
        suite(store, source, "mmlu", "science", hits, quantise="int4")
    assert status(review(store, run))["benchmarks"] == "not measured"


def test_the_classifier_compares_the_same_replies(store, run):
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
    assert found["status"] == "missed", "9 replies cannot show that there are no more than 5 points"


# The folder.


@pytest.fixture(scope="module")
def released(tmp_path_factory, templates):
    """A released run with a signed folder; tests copy it before they change it."""
    pytest.importorskip("cryptography", reason="signatures need the extra 'sign'")
    place = tmp_path_factory.mktemp("released")
    store = Store(place / "runs")
    shutil.copytree(templates[1][0], store.root)
    run = load(store.root / templates[1][1])
    verdict = review(store, run, reviewer="R. Person")
    waive(run, verdict, [one["key"] for one in verdict["conditions"] if one["status"] != "pass"], "A. Person", "a <b>pilot</b> | no *more*")
    release_manifest.new_key(place / "key.pem")
    content = report.assemble(store, run, "R. Person")
    release_folder.publish(store, run, content, store.root / run.id / "release", place / "key.pem", "R. Person")
    return place


@pytest.fixture
def copy(released, tmp_path):
    shutil.copytree(released, tmp_path / "copy")
    place = tmp_path / "copy"
    run = next(path.parent for path in (place / "runs").glob("*/run.json"))
    return place, Store(place / "runs"), run / "release"


def test_an_untouched_release_is_accepted(copy):
    place, store, folder = copy
    found = release_manifest.verify(folder, store, place / "key.pem.pub")
    assert found["ok"] and found["release"] and found["absent"] == 0 and found["artifacts"] >= 11
    away = release_manifest.verify(folder, None)
    assert away["ok"] and away["artifacts"] == 0 and away["absent"] == found["artifacts"]


def every_file(place):
    folders = [next((place / "runs").glob("*/release")), *sorted((place / "runs" / "artifacts").iterdir())]
    return [path for folder in folders for path in sorted(folder.iterdir()) if not path.parent.name.startswith("failures-")]


def test_every_single_changed_file_is_refused_and_named(copy):
    place, store, folder = copy
    files = every_file(place)
    assert len(files) > 25
    for path in files:
        kept = path.read_bytes()
        middle = len(kept) // 2
        path.write_bytes(kept[:middle] + bytes([kept[middle] ^ 1]) + kept[middle + 1 :])
        found = release_manifest.verify(folder, store, place / "key.pem.pub")
        path.unlink()
        gone = release_manifest.verify(folder, store) if path.name != "manifest.json" else {"ok": False, "faults": [path.name]}
        path.write_bytes(kept)
        assert not found["ok"] and any(path.name in one or "manifest.json" in one for one in found["faults"]), path
        assert not gone["ok"] and any(path.name in one for one in gone["faults"]), path
    assert release_manifest.verify(folder, store)["ok"]


def forge(folder, change):
    """A whole new chain without a signature, as someone who can write the folder would make it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    entries = [{name: one for name, one in entry.items() if name not in ("n", "previous", "hash")} for entry in manifest["chain"]]
    change(entries)
    linked = release_manifest.chain(entries)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"chain": linked, "head": linked[-1]["hash"]}))


def test_a_forged_chain_is_refused_by_its_signature(copy):
    place, store, folder = copy
    forge(folder, lambda entries: entries[0]["waivers"].clear())
    found = release_manifest.verify(folder, store)
    assert found["faults"] == ["manifest.sig: it does not belong to this manifest.json"]
    (folder / "manifest.sig").unlink()
    assert "manifest.sig: it is missing" in release_manifest.verify(folder, store)["faults"][0]
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"signed_by": ""}))
    assert release_manifest.verify(folder, store)["ok"], "nothing but a trusted key can see a forgery as a whole"
    assert "not signed" in release_manifest.verify(folder, store, place / "key.pem.pub")["faults"][0]


def test_another_key_is_refused_where_one_is_trusted(copy):
    place, store, folder = copy
    release_manifest.new_key(place / "other.pem")
    found = release_manifest.verify(folder, store, place / "other.pem.pub")
    assert len(found["faults"]) == 1 and "not by" in found["faults"][0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda entries: entries[0].update(release=False), "does not follow"),
        (lambda entries: next(one for one in entries[0]["conditions"] if one["key"] == "bias")["waiver"].update(name=""), "no name"),
        (lambda entries: next(one for one in entries[0]["conditions"] if one["key"] == "lineage").update(status="waived", waiver={"name": "A", "reason": "b"}), "cannot be waived"),
        (lambda entries: entries.append({"kind": "file", "path": "../../run.json", "sha256": "0"}), "no file of this folder"),
    ],
)  # fmt: skip
def test_a_manifest_that_contradicts_itself_is_refused(copy, change, told):
    _, _, folder = copy
    forge(folder, change)
    assert any(told in one for one in release_manifest.verify(folder)["faults"])


def test_added_files_and_foreign_content_are_refused(copy, tmp_path):
    _, store, folder = copy
    (folder / "weights.bin").write_text("x")
    assert release_manifest.verify(folder, store)["faults"] == ["weights.bin: it was added after the release"]
    with pytest.raises(MissingError):
        release_manifest.verify(tmp_path)
    for text in ("[]", "{}", '{"format": 1, "chain": 3, "signed_by": "", "head": ""}', '{"format": 1, "chain": [], "signed_by": "", "head": ""}', "\x00"):
        (folder / "manifest.json").write_text(text)
        assert not release_manifest.verify(folder, store)["ok"]


def test_the_card_has_the_hubs_form_and_tells_waivers(copy):
    import yaml

    _, _, folder = copy
    text = (folder / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    meta = yaml.safe_load(front)
    assert {"license", "base_model", "library_name", "pipeline_tag", "datasets", "tags", "model-index"} <= set(meta)
    assert meta["base_model"] == "nowhere/model" and "released" in meta["tags"] and meta["license"] == "unknown"
    assert {one["type"]: one["value"] for one in meta["model-index"][0]["results"][0]["metrics"]}["harmful_compliance"] == 0.2
    assert "**Released.**" in body and body.index("## Waived") < body.index("## Met") < body.index("## Limits")
    assert "A. Person" in body and "<b>" not in body and "&#60;b&#62;pilot" in body and "R. Person reviewed" in body
    assert "(10 to 30)" in body, "figures stand with their interval"
    assert "PRIVATE" not in "".join(path.read_text() for path in folder.iterdir())


def test_a_folder_with_something_else_is_not_touched(store, run, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="something else"):
        release_folder.publish(store, run, report.assemble(store, run), tmp_path / "thesis", None, "")
    assert (tmp_path / "thesis" / "chapter.tex").exists() and len(list(tmp_path.joinpath("thesis").iterdir())) == 1
    with pytest.raises(ConfigError, match="under a signature"):
        release_folder.publish(store, run, {}, tmp_path / "new", None, "R. Person")


def test_keys_are_private_and_never_overwritten(tmp_path):
    pytest.importorskip("cryptography", reason="signatures need the extra 'sign'")
    path = tmp_path / "keys" / "key.pem"
    release_manifest.new_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and "PUBLIC" in path.with_name("key.pem.pub").read_text()
    kept = path.read_bytes()
    with pytest.raises(ConfigError, match="never overwritten"):
        release_manifest.new_key(path)
    assert path.read_bytes() == kept
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read") as refused:
        release_manifest.write(tmp_path, [{"kind": "verdict"}], path)
    assert kept.decode().splitlines()[1] not in str(refused.value)
    bad = tmp_path / "bad.pem"
    bad.write_text("secret text")
    bad.chmod(0o600)
    with pytest.raises(ConfigError, match="no Ed25519 key") as refused:
        release_manifest.write(tmp_path, [{"kind": "verdict"}], bad)
    assert "secret text" not in str(refused.value)


# The command.


def call(capsys, *arguments):
    from solon.cli import main

    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def test_the_command_releases_only_what_is_met_or_waived(store, run, capsys):
    pytest.importorskip("cryptography", reason="signatures need the extra 'sign'")
    place = ("--runs", store.root)
    code, out, _ = call(capsys, "release", "latest", *place)
    assert code == 1 and "release: no (1 missed, 7 not measured, 12 pass)" in out and "measures bias: solon eval" in out
    code, out, _ = call(capsys, "release", "latest", *place, "--json")
    value = json.loads(out)
    assert code == 1 and not value["release"] and value["folder"]
    open_ = [one["key"] for one in value["conditions"] if one["status"] != "pass" and one["key"] != "review"]
    key = store.root.parent / "key.pem"
    assert call(capsys, "release", "--new-key", key)[0] == 0
    waived = [part for one in open_ for part in ("--waive", one)]
    code, out, _ = call(capsys, "release", "latest", *place, *waived, "--name", "A. Person", "--reason", "pilot", "--reviewer", "R. Person", "--key", key)
    assert code == 0 and "release: yes (7 waived, 13 pass)" in out and "[waived by A. Person" in out
    assert load(store.root / run.id).verdict["release"] is True
    report_json = json.loads((store.root / run.id / "report.json").read_text())
    assert {one["condition"] for one in report_json["verdict"]["waivers"]} == set(open_)
    folder = value["folder"]
    assert call(capsys, "release", "--verify", folder, "--public-key", f"{key}.pub")[0] == 0
    card = store.root / run.id / "release" / "README.md"
    card.write_text(card.read_text().replace("A. Person", "Nobody"))
    code, out, _ = call(capsys, "release", "--verify", folder)
    assert code == 1 and "refused: README.md: it was changed after the release" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name a run"), (("nowhere",), "no run"), (("latest", "--waive", "bias"), "needs the name"),
        (("latest", "--waive", "lineage", "--name", "A", "--reason", "b"), "cannot be waived"), (("latest", "--name", "A"), "go with --waive"),
        (("latest", "--reviewer", "R"), "under a signature"), (("latest", "--key", "nowhere.pem"), "no key file"),
        (("latest", "--verify", "x"), "stand alone"), (("--verify", "nowhere"), "holds no release"), (("latest", "--public-key", "x"), "goes with --verify"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_refused_with_exit_code_2(store, run, capsys, arguments, told):
    code, _, err = call(capsys, "release", *arguments, "--runs", store.root)
    assert code == 2 and told in err and "Traceback" not in err
    assert not (store.root / run.id / WAIVERS).exists() and not (store.root / run.id / "release").exists()


def test_changed_evidence_is_not_even_written(store, run, capsys):
    path = store.get(run.stages["feedback"]).path / "rows.jsonl"
    path.write_text(path.read_text() + "{}\n")
    code, out, _ = call(capsys, "release", "latest", "--runs", store.root)
    assert code == 1 and run.stages["feedback"] in out and "nothing was written" in out
    assert not (store.root / run.id / "release").exists()
