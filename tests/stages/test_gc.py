"""What is freed of a folder of runs, and above all what is not."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from solon.core.artifacts import Artifact, Store
from solon.core.errors import ConfigError, MissingError, SolonError
from solon.stages import gc
from solon.stages.runs import Run, list_runs


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def make(store: Store, stage: str, name: str, **inputs: Artifact) -> Artifact:
    """An artifact of a month ago."""
    made = store.make(stage, 1, {"name": name}, {"model": "tiny@1"} | {role: one.id for role, one in inputs.items()},
                      lambda draft: draft.write_rows("rows", [{"id": name}]))  # fmt: skip
    os.utime(made.path, (time.time() - 30 * 86400,) * 2)
    return made


def run(store: Store, id: str, ended: bool = True, **models: Artifact) -> Run:
    begun = Run(id, str(store.root / id), {"model": "tiny"}, "abc", "2026-01-01 00:00:00").save()
    return begun.ended(models, {}) if ended else begun


def freed(made: dict[str, Any], kind: str = "artifact") -> list[str]:
    return [one["id"] for one in made["free"] if one["kind"] == kind]


def here(store: Store) -> set[str]:
    return {path.name for path in (store.root / "artifacts").iterdir()}


def test_what_no_run_refers_to_goes_and_lineage_stays(store: Store) -> None:
    """A run refers to its last model alone: what this was made from is kept by its evidence, not by the run."""
    old = make(store, "helpful", "old")
    revised = make(store, "revise", "one", model=old)
    sl = make(store, "sl", "one", start=old, revisions=revised)
    stale = make(store, "sl", "stale", start=old)
    later = make(store, "dpo", "stale", start=stale)
    run(store, "quick-1111", aligned=sl)
    made = gc.plan(store)
    assert freed(made) == [later.id, stale.id]  # what was made from others first
    assert made["kept"].keys() == {old.id, revised.id, sl.id} and made["kept"][sl.id] == "run quick-1111 refers to it"
    assert made["bytes"] == sum(f.stat().st_size for one in (stale, later) for f in one.path.rglob("*")) > 0
    assert here(store) == {old.id, revised.id, sl.id, stale.id, later.id}  # a plan deletes nothing
    gc.collect(store, made)
    assert here(store) == {old.id, revised.id, sl.id} and not (store.root / "freed").exists()
    assert gc.plan(store)["free"] == [] and not any(Artifact(id, store.root / "artifacts" / id).unsound() for id in here(store))


def test_an_unfinished_run_a_young_artifact_and_what_was_asked_for_keep_theirs(store: Store) -> None:
    attacked, stale = make(store, "sl", "attacked"), make(store, "sl", "stale")
    make(store, "redteam", "of it", model=attacked)
    young = store.make("sl", 1, {"name": "young"}, {}, lambda draft: None)
    assert freed(gc.plan(store)) == [stale.id] and set(freed(gc.plan(store, days=0))) == {stale.id, young.id}
    run(store, "quick-1111", ended=False)
    assert freed(gc.plan(store, days=0)) == []
    assert freed(gc.plan(store, ["quick-1111"])) == [stale.id]


def test_a_file_of_a_run_that_names_an_artifact_keeps_it(store: Store) -> None:
    named = make(store, "sl", "named")
    one = run(store, "quick-1111")
    (Path(one.path) / "release").mkdir()
    (Path(one.path) / "release" / "card.json").write_text(f'{{"path": "/x/y-{named.id}/z"}}')
    assert freed(gc.plan(store)) == []


def test_what_was_changed_or_cannot_be_read_stays(store: Store) -> None:
    changed, broken = make(store, "sl", "changed"), make(store, "sl", "broken")
    (changed.path / "rows.jsonl").write_text("{}")
    (broken.path / "evidence.json").write_text("{")
    assert freed(gc.plan(store, days=0)) == []
    assert freed(gc.plan(store, [broken.id])) == [broken.id]


def test_a_dropped_run_goes_with_what_it_alone_used_however_young(store: Store) -> None:
    shared = store.make("helpful", 1, {}, {}, lambda draft: None)
    own, other = (store.make("sl", 1, {"name": name}, {"start": shared.id}, lambda draft: None) for name in "ab")
    run(store, "quick-1111", helpful=shared, sl=own)
    run(store, "quick-2222", helpful=shared, sl=other)
    made = gc.plan(store, ["quick-1111"])
    assert freed(made) == [own.id] and freed(made, "run") == ["quick-1111"] and made["free"][0]["kind"] == "run"
    gc.collect(store, made)
    assert here(store) == {shared.id, other.id} and [one.id for one in list_runs(store)] == ["quick-2222"]
    with pytest.raises(MissingError, match="quick-1111"):
        gc.plan(store, ["quick-1111"])


def test_an_artifact_that_something_kept_needs_cannot_be_dropped(store: Store) -> None:
    first = make(store, "helpful", "x")
    second = make(store, "redteam", "of it", model=first)
    assert freed(gc.plan(store, [first.id])) == [second.id, first.id]
    run(store, "quick-1111", sl=make(store, "sl", "y", start=first))
    with pytest.raises(ConfigError, match="cannot be dropped"):
        gc.plan(store, [first.id])


def test_nothing_is_deleted_while_a_process_is_at_work(store: Store) -> None:
    stale = make(store, "sl", "stale")

    def build(draft: Any) -> None:
        with pytest.raises(SolonError, match="at work"):
            gc.collect(store, gc.plan(store))

    store.make("pairs", 1, {}, {}, build)
    assert stale.path.is_dir()
    gc.collect(store, gc.plan(store))
    assert not stale.path.exists()


def test_drafts_and_what_a_stopped_deletion_left(store: Store) -> None:
    done = make(store, "sl", "done")
    run(store, "quick-1111", sl=done)
    for name in (done.id, "dpo-0123456789ab"):
        (store.root / "drafts" / name / ".checkpoints").mkdir(parents=True)
    (store.root / "freed" / "artifact-sl-1").mkdir(parents=True)
    made = gc.plan(store)
    assert freed(made, "draft") == [done.id] and freed(made, "freed") == ["artifact-sl-1"]
    assert freed(gc.plan(store, ["dpo-0123456789ab"]), "draft") == ["dpo-0123456789ab", done.id]
    gc.collect(store, made)
    assert done.path.is_dir() and (store.root / "drafts" / "dpo-0123456789ab").is_dir() and not (store.root / "freed").exists()


def test_links_lead_nowhere(store: Store, tmp_path: Path) -> None:
    """A link in place of an artifact is not followed, and the folder it points to is never deleted."""
    outside = make(store, "sl", "outside").path
    moved = shutil.move(outside, tmp_path / "elsewhere")
    outside.symlink_to(moved)
    assert gc.plan(store, days=0)["free"] == [] and Path(moved).is_dir()
