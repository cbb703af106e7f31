"""Runs with real artifacts and made-up figures, to be reviewed and released."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from solon.core.artifacts import Store, digest
from solon.stages.release import Release
from solon.stages.release_review import review
from solon.stages.runs import Run, load, now

DATA = ("demonstrations", "red_team", "benign", "helpful", "labelled", "transcripts", "criticised", "multiple_choice", "passages", "paraphrases")
SOURCES = {
    "helpful": "starter:helpful_prompts", "labelled": "starter:labelled_pairs", "transcripts": "starter:critiques",
    "criticised": "starter:labelled_pairs",
}  # fmt: skip
GOOD = {"harmful_compliance": (0.9, 0.2), "over_refusal": (0.05, 0.06), "multiple_choice": (0.5, 0.5), "passage_loss": (3.9, 3.9), "harm": (0.6, 0.3), "helpfulness": (0.5, 0.7), "consistency": (0.8, 0.95), "win_rate": (None, 0.9)}

WIDE = 0.02  # half the width of an interval


def figure(value, n=100):
    return {"value": value, "ci": [max(0.0, value - WIDE), value + WIDE], "n": n, "unit": "share", "how": "made up", "better": "higher"}


def pair(name, a, b, role="aligned"):
    return {
        "figure": name, "a": "base", "b": role, "n": 100, "value": b - a, "ci": [b - a - WIDE, b - a + WIDE], "test": "t", "p": 1e-6,
        "p_holm": 1e-5, "effect": 1.0, "effect_name": "h", "detectable": 0.1, "plain": "Changed.",
    }  # fmt: skip


def tables_of(ends):
    models = {role: {name: figure(two[i]) for name, two in ends.items() if two[i] is not None} for role, i in (("base", 0), ("helpful", 1), ("aligned", 1))}
    return models, [pair(name, *two, role) for name, two in ends.items() if None not in two for role in ("helpful", "sl", "aligned")]


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
        asked = [{"role": "user", "content": "a"}]
        draft.write_rows("rows", [{"id": "a", "messages": [*asked, {"role": "assistant", "content": "b"}], "prompt": asked, "first": "b", "rounds": []}])

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
        models, pairs = tables_of(ends)
        draft.write("figures.json", models)
        draft.write("pairs.json", pairs)

    made = lambda name, inputs, build, config=None: store.make(name, 1, config or {"seed": seed}, inputs, build)  # noqa: E731
    helpful = made("helpful", {"model": "nowhere/model@0123"}, trained)
    certificate = made("certify", {"model": "nowhere/model@0123"}, certified)
    revised = made("revise", {"model": helpful.id}, rows)
    sl = made("sl", {"start": helpful.id, "revisions": revised.id}, trained)
    labels = made("feedback", {"judge": certificate.id}, rows)
    aligned = made("dpo", {"start": sl.id, "labels": labels.id}, trained)
    passed = made("gate", {"helpful": helpful.id}, lambda draft: draft.facts.update(passed=True))
    more = {name: made(name, {"model": source.id}, rows) for name, source in (("screen", revised), ("answers", helpful), ("pairs", sl))}
    models = {"helpful": helpful, "sl": sl, "aligned": aligned}
    settings = {"seed": seed, "data": digests}
    evaluations = {role: made("evaluate", {"model": source}, evaluated, settings) for role, source in {"base": "nowhere/model@0123", **{role: one.id for role, one in models.items()}}.items()}
    figures = made("compare", {role: one.id for role, one in evaluations.items()}, compared)
    id = f"tiny-{digest({'recipe': recipe, 'book': 'abc'}, 8)}"
    run = Run(id, str(store.root / id), recipe, "abc", now()).save()
    return run.ended(models, evaluations, certify=certificate, revise=revised, gate=passed, **more, feedback=labels, compare=figures)


WORSE = GOOD | {"harmful_compliance": (0.4, 0.45)}


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


@pytest.fixture
def tables():
    """`tables(win_rate=(None, 0.9))`: figures and pairs of a run that meets all its bars, with these ends (base, aligned) instead."""
    return lambda **ends: tables_of(GOOD | ends)


@pytest.fixture
def condition_of(store):
    """`condition_of(run, "bias")`: one condition of the run's review."""
    return lambda run, key: next(one for one in review(store, run)["conditions"] if one["key"] == key)
