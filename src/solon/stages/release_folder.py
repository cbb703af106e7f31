"""A release as a folder: model card, report, conditions, and the manifest that holds them and the artifacts together."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from solon.core.artifacts import Record, Store, write_text
from solon.core.errors import ConfigError, StorageError
from solon.stages import release_evidence, release_integrity, release_manifest
from solon.stages.release import MISSED
from solon.stages.release_card import card
from solon.stages.report_page import page
from solon.stages.runs import Run

CARD, REPORT, PAGE = "README.md", "report.json", "report.html"
OWN = frozenset((CARD, REPORT, PAGE, release_manifest.MANIFEST, release_manifest.SIGNATURE))


def default(run: Run) -> Path:
    """Where a release lies unless another folder is named."""
    return Path(run.path) / "release"


def sound(verdict: Record) -> bool:
    """Whether the evidence is what it was: a release of changed evidence is not even written."""
    return not any(one["key"] in ("lineage", "sources") and one["status"] == MISSED for one in verdict["conditions"])


def publish(store: Store, run: Run, content: Record, folder: Path, key: Path | None, reviewer: str) -> str:
    """Write the folder of a report's content whole or not at all; gives the head of the manifest's chain.

    Raises `ConfigError` for a folder that holds something else, or a review without a key."""
    if reviewer and not key:
        raise ConfigError("a review counts only under a signature", got="--reviewer without --key", fix="add --key FILE (solon release --new-key FILE makes one)")
    _refuse(folder)
    aside = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        _fill(aside, store, run, content, reviewer)
        own = [aside / name for name in (CARD, REPORT, PAGE)]
        entries = [release_manifest.verdict_entry(run.id, content["verdict"], reviewer)]
        entries += [release_manifest.artifact_entry(role, store.get(id)) for id, role in named(store, run).items()]
        entries += [release_manifest.file_entry(path) for path in own]
        head = release_manifest.write(aside, entries, key)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(aside, folder)
    except OSError as error:
        raise StorageError(f"the release cannot be written to {folder}", got=error, fix="name another with --out") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return head


def named(store: Store, run: Run) -> dict[str, str]:
    """All artifacts behind the decision by id, inputs first, with what they are called."""
    more = release_evidence.gather(store, run).artifacts
    roles = {id: role for role, id in run.artifacts.items()} | {one.id: one.stage for one in more}
    every = release_integrity.closure(store, [*run.artifacts.values(), *(one.id for one in more)])
    return {id: roles.get(id, store.get(id).stage) for id in every}


def _fill(folder: Path, store: Store, run: Run, content: Record, reviewer: str) -> None:
    model, data = release_integrity.model_of(run), release_integrity.data_of(store, run)
    write_text(folder / CARD, card(content, model, data, run.recipe, reviewer))
    write_text(folder / REPORT, json.dumps(content, indent=1, ensure_ascii=False))
    write_text(folder / PAGE, page(content))


def _refuse(folder: Path) -> None:
    """A folder that is not a release of Solon's is not touched."""
    if not folder.exists():
        return
    inside = {entry.name for entry in folder.iterdir()} if folder.is_dir() else {folder.name}
    if inside - OWN:
        raise ConfigError(f"{folder} holds something else than a release", got=sorted(inside - OWN)[0], fix="name an empty or new folder with --out")
