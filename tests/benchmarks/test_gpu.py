"""The comparison on an accelerator, as far as a processor can show it: Solon's side of every row, and the verdicts."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def measure() -> Iterator[ModuleType]:
    """The script as a module. It puts its folders on the path; they are taken off again."""
    before = list(sys.path)
    wanted = importlib.util.spec_from_file_location("gpu_measure", ROOT / "gpu" / "measure.py")
    assert wanted is not None and wanted.loader is not None
    module = importlib.util.module_from_spec(wanted)
    wanted.loader.exec_module(module)
    yield module
    sys.path[:] = before


def ours(measure: ModuleType, folder: Path, job: str, rounds: int, **more: Any) -> Any:
    """Solon's side of one job on the tiny model, in float32, in a process of its own as the script has it."""
    bench = measure.Bench("tiny", folder, rounds, False)
    path = folder / "task.json"
    path.write_text(json.dumps(bench.task | {"dtype": "float32"} | more))
    command = [sys.executable, str(ROOT / "gpu" / "solon_side.py"), job, str(path)]
    (side,), _ = measure.alternate([("Solon", command, measure.ENVIRONMENT | {"JAX_PLATFORMS": "cpu"})], rounds)
    assert not side.failure, (job, side.failure)
    return side


@pytest.mark.slow
@pytest.mark.parametrize("job", ["ceilings", "sft", "dpo", "decode"])
def test_our_side_of_every_row_runs_with_the_code_as_it_is(measure: ModuleType, tmp_path: Path, job: str) -> None:
    """The table is made rarely, so nothing else would notice that something it calls has changed. A fresh adapter changes
    nothing: the first loss of DPO is ln 2 when the reference is right, and that of SFT on drawn tokens about ln v."""
    for batch in measure.shapes.WORK["tiny"]["batches"] if job == "decode" else [0]:
        side = ours(measure, tmp_path, job, 1, batch=batch)
        assert len(side.rounds) == 1
    if job in ("sft", "dpo"):
        first, second = side.end["losses"]
        assert first == pytest.approx({"sft": math.log(512), "dpo": math.log(2)}[job], rel=0.02 if job == "sft" else 1e-5)
        assert second != first
    elif job == "ceilings":
        assert side.rounds[0]["rate"] > 0 and side.rounds[0]["bandwidth"] > 0
    else:
        assert side.rounds[0]["prefill"] > 0


@pytest.mark.slow
def test_our_side_writes_the_logits_that_parity_compares(measure: ModuleType, tmp_path: Path) -> None:
    ours(measure, tmp_path, "parity", -1)
    logits = np.load(tmp_path / "solon.npy")
    assert logits.shape[-2:] == (32, 512) and np.isfinite(logits).all() and logits.std() > 0.01


def test_a_line_says_whether_its_targets_are_met(measure: ModuleType, tmp_path: Path) -> None:
    bench = measure.Bench("7b", tmp_path, 3, False)
    sides = [measure.Side([{"seconds": x}]) for x in (2.0, 3.5)]
    sft = bench.line("sft", "tokens/s", 100.0, sides, 0.8)
    assert (sft["ratio"], sft["target"], sft["verdict"]) == (1.75, 1.5, "met")
    assert (sft["bound_share"], sft["share_target"], sft["share_verdict"]) == (pytest.approx(0.4), 0.45, "missed")
    alone = bench.line("decode1", "tokens/s", 10.0, [measure.Side([{"seconds": 1.0}]), measure.Side(failure="out of memory")], 0.6)
    assert alone["verdict"] is None and alone["share_verdict"] == "met" and alone["failures"] == ["out of memory"]
    failed = bench.line("decode64", "tokens/s", 10.0, [measure.Side(failure="out of memory"), measure.Side([{"seconds": 1.0}])], 0.6)
    assert (failed["verdict"], failed["share_verdict"]) == ("not measured", None)


def test_what_the_issue_aims_at_is_measured(measure: ModuleType) -> None:
    """Batches 1 to 512 for every model that is compared, and each target belongs to a row that exists."""
    work = {name: one for name, one in measure.shapes.WORK.items() if name != "tiny"}
    assert all(one["batches"][0] == 1 and one["batches"][-1] == 512 for one in work.values())
    rows = {f"{name} {job}" for name, one in work.items() for job in ("sft", "dpo", *(f"decode{n}" for n in one["batches"]))}
    assert measure.shapes.SHARES.keys() <= rows
    assert {f"{name} {job}" for name in work for job in measure.shapes.TARGETS} <= rows
