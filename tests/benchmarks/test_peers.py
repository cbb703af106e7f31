"""The comparison with peers: strict turns, medians, a failing program by name, bounds, and the file of results."""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    wanted = importlib.util.spec_from_file_location("peers", ROOT / "peers.py")
    assert wanted is not None and wanted.loader is not None
    module = importlib.util.module_from_spec(wanted)
    sys.modules["peers"] = module
    wanted.loader.exec_module(module)
    return module


def program(log: Path, name: str, rounds: int, seconds: str = "0.01", extra: str = "") -> list[str]:
    """A program that writes down when it worked."""
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT / "speed")!r})
from turns import Turns
turns = Turns()
def work(number):
    with open({str(log)!r}, "a") as out:
        out.write(f"{name} begins {{number}}\\n")
        out.flush()
        time.sleep({seconds})
        {extra or "pass"}
        out.write(f"{name} ends {{number}}\\n")
    return {{"tokens": 10}}
turns.rounds({rounds}, work)
turns.end(weights=7)
"""
    return [sys.executable, "-c", code]


def test_programs_take_strict_turns(peers: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"
    commands = [("A", program(log, "A", 2), {}), ("B", program(log, "B", 2), {})]
    (a, b), others = peers.alternate(commands, 2)
    assert log.read_text().splitlines() == [
        f"{name} {what} {number}" for number in range(3) for name in "AB" for what in ("begins", "ends")
    ]  # fmt: skip
    assert len(a.rounds) == len(b.rounds) == 2 and not a.failure and not b.failure
    assert all(0.01 <= one["seconds"] < 1 for one in a.rounds) and a.first > 0.01
    assert a.end["weights"] == 7 and 1 < a.end["peak_mb"] < 1000
    assert 0 <= others <= 1


@pytest.mark.parametrize("broken", [0, 1])
def test_a_program_that_fails_is_named_and_the_other_goes_on(peers: ModuleType, tmp_path: Path, broken: int) -> None:
    log = tmp_path / "log"
    extra = ["", ""]
    extra[broken] = "if number == 1: raise ValueError('no such kernel')"
    commands = [(name, program(log, name, 3, extra=more), {}) for name, more in zip(("Solon", "peer"), extra, strict=True)]
    sides, _ = peers.alternate(commands, 3)
    assert "no such kernel" in sides[broken].failure and sides[broken].failure.startswith(commands[broken][0])
    assert len(sides[1 - broken].rounds) == 3 and sides[1 - broken].end


def test_a_program_that_is_missing_is_named(peers: ModuleType, tmp_path: Path) -> None:
    missing = [sys.executable, "-c", "import a_library_that_is_not_there"]
    sides, _ = peers.alternate([("Solon", program(tmp_path / "log", "A", 1), {}), ("TRL", missing, {})], 1)
    assert "a_library_that_is_not_there" in sides[1].failure and len(sides[0].rounds) == 1


@pytest.fixture
def bench(peers: ModuleType, tmp_path: Path) -> Any:
    """A run whose ceilings are known: 1000 GF/s and 10 GB/s."""
    facts = {"matrices": 106_168_320, "table": 28_311_552, "layers": 30, "heads": 576, "kv": 192, "adapter_width": 305_280}
    bench = peers.Bench.__new__(peers.Bench)
    bench.options = None
    bench.sizes, bench.machine, bench.commit = peers.SIZES, "a machine", "abc"
    bench.ceilings = {"bfloat16": 1000.0, "float32": 100.0, "bandwidth": 10.0}
    (tmp_path / "data.json").write_text(json.dumps({"facts": facts, "prompts": [[1] * 100], "answers": [64]}))
    bench.task = {"data": str(tmp_path / "data.json"), "sizes": peers.SIZES}
    return bench


def sides(peers: ModuleType, ours: list[float], theirs: list[float], **facts: Any) -> list[Any]:
    return [peers.Side([{"seconds": x, **facts} for x in xs], end={"peak_mb": 100.0}) for xs in (ours, theirs)]


def test_a_line_holds_medians_ratio_and_share(peers: ModuleType, bench: Any) -> None:
    row = next(row for row in peers.ROWS if row.name == "sft")
    line = bench.line(row, *sides(peers, [8.0, 9.0, 7.0], [16.0, 17.0, 15.0]), 4096.0, 0.01)
    assert (line["ours"], line["peer"], line["rounds"]) == (512.0, 256.0, 3)
    assert line["ratio"] == 2.0 and not line["failures"]
    # By hand: two passes over all frozen numbers, three over the adapters, three over half of the score matrix.
    frozen = 2 * 2 * (106_168_320 * 4096 + 28_311_552 * 8 * 511)
    by_hand = frozen + 3 * 2 * 4_884_480 * 4096 + 3 * 30 * 2 * 2 * 576 * 8 * 512 * 512 / 2
    assert line["bound_share"] == pytest.approx(by_hand / 1e12 / 8.0)
    assert {"name", "unit", "ours", "peer", "ratio", "bound_share", "rounds", "machine", "commit"} <= line.keys()


def test_decoding_at_batch_one_is_bound_by_the_bytes_of_its_weights(peers: ModuleType, bench: Any) -> None:
    row = next(row for row in peers.ROWS if row.name == "decode1")
    ours, peer = sides(peers, [2.0], [1.0], tokens=127)
    ours.end["weights"] = peer.end["weights"] = 80_000_000
    line = bench.line(row, ours, peer, 1.0, 0.0)
    cache = 2 * 2 * 30 * 192 * (128 + 64)
    assert line["bound_share"] == pytest.approx(127 * (80e6 + cache) / 10e9 / 2.0)
    assert line["peer_bound_share"] == pytest.approx(2 * line["bound_share"]) and line["ratio"] == 0.5


def test_seconds_are_better_when_fewer(peers: ModuleType, bench: Any) -> None:
    row = next(row for row in peers.ROWS if row.name == "first_again")
    line = bench.line(row, *sides(peers, [10.0, 11.0, 9.0], [20.0, 19.0, 30.0]), 0.0, 0.0)
    assert line["ratio"] == 2.0 and line["bound_share"] is None


def test_the_bound_of_grpo_is_drawing_and_learning(peers: ModuleType, bench: Any) -> None:
    """By hand: 8 prompts of 56 tokens read, 64 steps of decoding at batch 32, one training step on 32 rows of 120 tokens."""
    row = next(row for row in peers.ROWS if row.name == "grpo")
    line = bench.line(row, *sides(peers, [10.0, 12.0, 11.0], [30.0, 22.0, 22.0]), 1.0, 0.0)
    assert (line["ours"], line["peer"], line["ratio"]) == (1 / 11, 1 / 22, 2.0)
    numbers = 106_168_320 + 28_311_552
    reading = 2 * 106_168_320 * 8 * 56 / 1e12
    decode = max((2 * numbers + 2 * 2 * 30 * 192 * 88 * 32) / 10e9, 32 * (2 * numbers + 30 * 2 * 2 * 576 * 88) / 1e12)
    learned = 2 * 2 * (106_168_320 * 32 * 120 + 28_311_552 * 32 * 64) + 3 * 2 * 4_884_480 * 32 * 120 + 3 * 30 * 2 * 2 * 576 * 32 * 120 * 120 / 2
    assert line["bound_share"] == pytest.approx((reading + 64 * decode + learned / 1e12) / 11.0)


def test_what_failed_has_no_figure(peers: ModuleType, bench: Any) -> None:
    ours, peer = sides(peers, [8.0], [16.0])
    peer.failure = "TRL: exit 1"
    line = bench.line(next(row for row in peers.ROWS if row.name == "sft"), ours, peer, 4096.0, 0.0)
    assert line["ours"] == 512.0 and line["peer"] is line["ratio"] is None and line["failures"] == ["TRL: exit 1"]


def test_rows_not_measured_now_stay_in_the_file(peers: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "results" / "cpu.json"
    peers.write([{"name": "dpo", "ours": 1}, {"name": "sft", "ours": 2}], path)
    peers.write([{"name": "dpo", "ours": 3}], path)
    assert [(row["name"], row["ours"]) for row in json.loads(path.read_text())["rows"]] == [("sft", 2), ("dpo", 3)]


def test_the_results_in_the_repository_are_what_the_table_says(peers: ModuleType) -> None:
    """Ratios and medians follow from the rounds that the file holds, so nothing in it was typed."""
    if not peers.RESULTS.exists():
        pytest.skip("no full comparison has been kept yet")
    for row in json.loads(peers.RESULTS.read_text())["rows"]:
        for who in ("ours", "peer"):
            if row[who] is not None:
                assert row[who] == pytest.approx(statistics.median(row[f"{who}_rounds"]), rel=1e-3, abs=1e-3)
        if row["ratio"] is not None:
            assert row["ratio"] == pytest.approx(row["peer"] / row["ours"] if row["unit"] == "seconds" else row["ours"] / row["peer"])
            assert row["rounds"] >= 3 and row["machine"] and row["commit"]


@pytest.mark.slow
def test_our_side_of_every_row_runs_with_the_code_as_it_is(peers: ModuleType) -> None:
    """The table is made rarely, so nothing else would notice that a stage it calls has changed."""
    options = Namespace(tiny=True, rounds=1, dpo_checkpointing=False, peer_python="")
    bench = peers.Bench(options)
    bench.task |= {"name": str(bench.folder / "tiny"), "model": str(bench.folder / "tiny")}
    bench._write()
    subprocess.run(bench.command("prepare"), check=True, capture_output=True)
    for row in peers.ROWS:
        name = "first" if row.name.startswith("first") else row.name
        (side,), _ = peers.alternate([("Solon", bench.command(name), row.environment)], 0 if name == "first" else 1)
        assert not side.failure, (row.name, side.failure)
