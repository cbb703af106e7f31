"""Artifacts: made once, kept whole, gone on with after a stop."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from solon.core.artifacts import (
    SMALL,
    Artifact,
    Draft,
    Store,
    canonical,
    digest,
    file_digest,
    read_rows,
    seal,
    write_rows,
    write_text,
)
from solon.core.artifacts import _give_back as GIVE_BACK  # as it is, before the tests' fixture replaces it
from solon.core.errors import MissingError, SolonError, StorageError

CONFIG = {"rank": 4, "rate": 0.5}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def build(draft: Draft) -> None:
    draft.write_rows("rows", [{"id": 1}, {"id": 2, "dropped": "too long"}, {"id": 3, "dropped": "too long"}])
    draft.write("notes.json", {"é": [1, 2]})
    draft.metric("accuracy", 0.5, n=2, ci=[0.1, 0.9], unit="share")
    draft.licences |= {"mit", "apache-2.0"}
    draft.tokens, draft.flops = 7, 9.0
    draft.facts["digest"] = "abc"


def make(store: Store, build: Callable[[Draft], None] = build, **changes: Any) -> Artifact:
    given: dict[str, Any] = {"stage": "sft", "version": 1, "config": CONFIG, "inputs": {"data": "data-1"}, **changes}
    return store.make(build=build, **given)


def test_made_once_and_found_again(store: Store) -> None:
    first = make(store)
    second = make(store, lambda draft: pytest.fail("it exists"))
    assert (first.reused, second.reused) == (False, True)
    assert (first.id, first.path) == (second.id, second.path) and first.id.startswith("sft-")
    assert store.get(first.id).evidence == first.evidence
    assert next(first.rows("rows")) == {"id": 1} and first.read("notes.json") == {"é": [1, 2]}
    with pytest.raises(MissingError, match=f"did you mean '{first.id}'"):
        store.get(first.id[:-1])


def test_memory_is_given_back_after_a_build_and_not_after_a_find(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("solon.core.artifacts._give_back", lambda: asked.append(1) or GIVE_BACK())
    for _ in range(2):
        store.make("stage", 1, {}, {}, lambda draft: None)
    assert asked == [1]


def test_the_id_is_that_of_what_made_it(store: Store) -> None:
    changes: list[dict[str, Any]] = [
        {}, {"stage": "dpo"}, {"version": 2}, {"config": {**CONFIG, "rank": 5}}, {"inputs": {"data": "data-2"}},
        {"inputs": {"rows": "data-1"}},
    ]  # fmt: skip
    assert len({make(store, **change).id for change in changes}) == len(changes)
    assert make(store, config={"rate": 0.5, "rank": 4}).reused  # the order of keys says nothing
    assert digest({"b": 1, "a": "é"}) == digest({"a": "é", "b": 1}) and canonical({"b": 1, "a": "é"}) == '{"a":"é","b":1}'


def test_evidence_says_what_why_and_at_what_cost(store: Store) -> None:
    artifact = make(store)
    evidence = artifact.evidence
    assert {k: evidence[k] for k in ("id", "stage", "version", "config", "inputs")} == {
        "id": artifact.id, "stage": "sft", "version": 1, "config": CONFIG, "inputs": {"data": "data-1"},
    }  # fmt: skip
    for output in evidence["outputs"]:
        path = artifact.path / output["path"]
        assert (output["sha256"], output["bytes"]) == (file_digest(path), path.stat().st_size)
    assert [o["path"] for o in evidence["outputs"]] == ["notes.json", "rows.jsonl"]
    assert evidence["data"] == {"kept": 1, "dropped": {"too long": 2}, "licences": ["apache-2.0", "mit"]}
    assert evidence["metrics"] == [{"name": "accuracy", "value": 0.5, "n": 2, "ci": [0.1, 0.9], "unit": "share"}]
    assert evidence["facts"] == {"digest": "abc"}
    cost = evidence["cost"]
    assert (cost["tokens"], cost["flops"]) == (7, 9.0) and cost["seconds"] >= 0 and cost["peak_bytes"] > 1e6
    assert {"python", "jax", "solon", "device", "cores", "commit"} <= set(evidence["environment"])


@pytest.mark.parametrize("harm", [lambda f: f.write_text("{}"), lambda f: f.unlink()])
def test_a_changed_file_is_noticed(store: Store, harm: Callable[[Path], None]) -> None:
    artifact = make(store)
    artifact.check()
    harm(artifact.path / "notes.json")
    with pytest.raises(StorageError, match=r"changed after it was made: notes\.json"):
        artifact.check()


def test_a_stopped_build_goes_on_with_the_missing_shards(store: Store) -> None:
    made: list[Sequence[int]] = []

    def sharded(fail_at: int) -> Callable[[Draft], None]:
        def build(draft: Draft) -> None:
            def shard(items: Sequence[int]) -> list[dict[str, int]]:
                if fail_at in items:
                    raise KeyboardInterrupt
                made.append(items)
                return [{"square": i * i} for i in items]

            draft.write_rows("squares", draft.in_shards("squares", range(10), 3, shard))

        return build

    with pytest.raises(KeyboardInterrupt):
        make(store, sharded(7))
    assert made == [range(3), range(3, 6)]
    assert not list((store.root / "artifacts").iterdir())
    artifact = make(store, sharded(-1))
    assert made[2:] == [range(6, 9), range(9, 10)]
    assert [row["square"] for row in artifact.rows("squares")] == [i * i for i in range(10)]
    assert [f.name for f in artifact.path.iterdir() if f.name.startswith(".")] == []
    undisturbed = Store(store.root.parent / "other")
    assert make(undisturbed, sharded(-1)).evidence["outputs"] == artifact.evidence["outputs"]


def test_the_seconds_of_a_stopped_build_count(store: Store) -> None:
    def stop(draft: Draft) -> None:
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        make(store, stop)
    (spent,) = (store.root / "drafts").glob("*/.seconds")
    spent.write_text("1000")
    assert make(store).evidence["cost"]["seconds"] >= 1000


HOLD = """
import sys
from solon.core.artifacts import Store
def build(draft):
    print("building", flush=True)
    sys.stdin.readline()
    draft.write("notes.json", 1)
Store(sys.argv[1]).make("sft", 1, {"rank": 4, "rate": 0.5}, {"data": "data-1"}, build)
"""


def test_two_processes_on_one_draft_are_refused(store: Store) -> None:
    command = [sys.executable, "-c", HOLD, str(store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as other:
        assert other.stdout and other.stdout.readline() == "building\n"
        with pytest.raises(SolonError, match="another process is making sft-"):
            make(store)
        assert not make(store, config={}).reused  # another artifact is nobody else's
        other.communicate("\n")
    assert other.returncode == 0
    assert make(store).reused and make(store).read("notes.json") == 1


def test_what_another_process_finished_meanwhile_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the lock another process may finish: then there is nothing left to do."""
    from solon.core import artifacts

    alone, raced = artifacts._alone, []

    def late(folder: Path) -> Any:
        if not raced:
            raced.append(folder)
            make(store)
        return alone(folder)

    monkeypatch.setattr(artifacts, "_alone", late)
    assert make(store, lambda draft: pytest.fail("made twice")).reused


def test_rows_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": "two\nlines\r\u2028 and é"}, {"n": 0.1}]
    write_rows(path, rows)
    assert list(read_rows(path)) == rows and len(path.read_bytes().splitlines()) == 2

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"rows\.jsonl could not be written(.|\n)*No space left"):
        write_rows(path, [{"new": 1}])
    assert list(read_rows(path)) == rows
    with pytest.raises(TypeError):
        write_rows(path, [{"no": "harm"}, {"bad": object()}])
    assert list(read_rows(path)) == rows


def test_a_root_that_cannot_be_used(tmp_path: Path) -> None:
    write_text(tmp_path / "file", json.dumps(1))
    with pytest.raises(StorageError, match="cannot be used"):
        make(Store(tmp_path / "file"))


class TestGates:
    """A stage refuses to start without its predecessors' evidence."""

    @pytest.fixture
    def store(self, tmp_path):
        return Store(tmp_path)

    @pytest.fixture
    def first(self, store):
        def build(draft):
            draft.write_rows("rows", [{"id": "a", "x": 1}])
            draft.write("large.json", "x" * SMALL)
            draft.metric("accuracy", 0.5, n=4)
            draft.facts |= {"accepted": False, "places": {1: "one"}}

        return store.make("first", 1, {"rank": 2}, {"model": "org/tiny@1", "data": "solon-data-a2cae7787a03", "other": ""}, build)

    @staticmethod
    def after(store, first, number=1):
        return store.make("second", number, {}, {"rows": first.id}, lambda draft: draft.write("out.json", {}))

    def test_a_sound_input_is_let_in_and_its_seal_is_kept(self, store, first):
        made = self.after(store, first)
        evidence = json.loads((first.path / "evidence.json").read_text())
        assert made.evidence["seals"] == {"rows": evidence["seal"]} and seal(evidence) == evidence["seal"]
        assert first.evidence["seals"] == {} and not first.unsound(whole=True) and not made.unsound(whole=True)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (lambda path: (path / "evidence.json").unlink(), "no evidence.json"),
            (lambda path: (path / "evidence.json").write_text("{"), "cannot be read"),
            (lambda path: edited(path, lambda evidence: evidence["facts"].update(accepted=True)), "was changed after it was made"),
            (lambda path: edited(path, lambda evidence: evidence["metrics"][0].update(value=0.9)), "was changed after it was made"),
            (lambda path: edited(path, lambda evidence: evidence["config"].update(rank=3)), "no longer gives this name"),
            (lambda path: (path / "rows.jsonl").write_text('{"id": "b", "x": 1}\n'), "rows.jsonl was changed"),
            (lambda path: (path / "rows.jsonl").unlink(), "rows.jsonl is missing"),
            (lambda path: (path / "large.json").write_text("short"), "large.json was changed"),
            (shutil.rmtree, "not there"),
        ],
    )
    def test_a_changed_or_missing_input_stops_the_stage(self, store, first, change, told):
        change(first.path)
        with pytest.raises(SolonError, match=told) as refused:
            self.after(store, first)
        assert first.id in str(refused.value) and "run the recipe again" in str(refused.value)
        assert not list((store.root / "artifacts").glob("second-*")) and not list((store.root / "drafts").glob("second-*"))

    def test_an_unfinished_input_stops_the_stage(self, store):
        def killed(draft):
            draft.write("half.json", {})
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store.make("first", 1, {}, {}, killed)
        id = next(entry.name for entry in (store.root / "drafts").iterdir() if entry.is_dir())
        with pytest.raises(MissingError, match="not finished"):
            store.make("second", 1, {}, {"rows": id}, lambda draft: None)

    def test_a_large_file_of_the_same_size_is_found_by_the_whole_look_only(self, store, first):
        path = first.path / "large.json"
        path.write_text(path.read_text().replace("x", "y"))
        assert "large.json was changed" in first.unsound(whole=True) and not first.unsound()

    def test_what_was_made_before_seals_still_counts(self, store, first):
        evidence = json.loads((first.path / "evidence.json").read_text())
        old = {name: one for name, one in evidence.items() if name not in ("seal", "seals")}
        (first.path / "evidence.json").write_text(json.dumps(old))
        assert self.after(store, Artifact(first.id, first.path)).evidence["seals"] == {"rows": seal(old)}


def edited(path, change):
    evidence = json.loads((path / "evidence.json").read_text())
    change(evidence)
    (path / "evidence.json").write_text(json.dumps(evidence))
