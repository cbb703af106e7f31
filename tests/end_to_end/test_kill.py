"""A run that is killed again and again ends with the bytes of one that nobody touched."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from solon.core.artifacts import Store, file_digest
from solon.stages.runs import find

PATIENCE = 300  # seconds


@pytest.fixture(scope="module")
def untouched(recipe_file, tmp_path_factory, start):
    """Digests of the three adapters of an undisturbed run, and how long a second one takes with warm programs."""
    seconds = 0.0
    for name in ("cold", "warm"):
        place = tmp_path_factory.mktemp(name)
        begin = time.monotonic()
        process = start("align", recipe_file, "--runs", place)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said
        seconds = time.monotonic() - begin
    return adapters(place), seconds


def adapters(place: Path) -> dict[str, str]:
    run = find(Store(place), "latest")
    return {role: file_digest(place / "artifacts" / id / "adapter.safetensors") for role, id in run.models.items()}


def killed(kills: int, seed: int, recipe_file, place: Path, start, seconds: float) -> int:
    """Start the run and kill its whole group at a random moment, `kills` times; gives how many were still at work."""
    moments = np.random.default_rng(seed).uniform(0.1, 0.95, kills)
    met = 0
    for moment in moments:
        process = start("align", recipe_file, "--runs", place)
        time.sleep(moment * seconds)
        met += process.poll() is None
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
    return met


def finished(recipe_file, place: Path, start) -> None:
    process = start("align", recipe_file, "--runs", place)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    for path in (place / "artifacts").iterdir():
        Store(place).get(path.name).check()


@pytest.mark.slow
def test_three_kills(recipe_file, tmp_path, untouched, start):
    wanted, seconds = untouched
    assert killed(3, 1, recipe_file, tmp_path, start, seconds / 2) >= 1
    finished(recipe_file, tmp_path, start)
    assert adapters(tmp_path) == wanted


@pytest.mark.slow
def test_twenty_kills(recipe_file, tmp_path, untouched, start):
    """Early kills weigh more: a run that got far leaves little for the next one to be killed in."""
    wanted, seconds = untouched
    met = killed(20, 2, recipe_file, tmp_path, start, seconds / 2)
    assert met >= 5
    finished(recipe_file, tmp_path, start)
    assert adapters(tmp_path) == wanted


@pytest.mark.slow
def test_control_c(recipe_file, tmp_path, untouched, start):
    wanted, _ = untouched
    process = start("align", recipe_file, "--runs", tmp_path)
    deadline = time.monotonic() + PATIENCE
    while not list((tmp_path / "drafts").glob("sl-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "run the same command again" in said and "Traceback" not in said
    finished(recipe_file, tmp_path, start)
    assert adapters(tmp_path) == wanted
    assert len(find(Store(tmp_path), "latest").reused) >= 3  # what was whole before was kept
