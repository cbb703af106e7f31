"""As many steps as two hours take on the small real model, on a tiny one: memory stays where it was, and kills change nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from solon.core.artifacts import file_digest

STEPS = 1440  # two hours of training at the five seconds that a step of 8 x 512 tokens takes on two cores
PATIENCE = 300  # seconds

# A trainer that shows its memory at every step and leaves its adapter; LoRA and completion-only loss, as the stages use them.
TRAIN = """
import json, sys
from pathlib import Path
import jax, numpy as np
from solon.core.weights import init
from solon.learn import lora, trainer
from solon.learn.objectives import sft
from solon.models.architecture import LINEAR, Architecture, spec
from solon.text.batches import Shape, batch
from solon.text.template import Tokens

steps, folder, pause = int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
arch = Architecture("llama", layers=2, embed=32, heads=4, kv_heads=2, head_dim=8, mlp=64, vocab=97, context=64)
params = lora.attach(arch, init(spec(arch), arch.sizes, seed=0), rank=4, alpha=8.0, seed=1)
shape = Shape(lines=4, length=32, scored=128, rows=8)

def batches(step):
    draw = np.random.default_rng(step)
    rows = [Tokens(draw.integers(0, 97, n).tolist(), [True] * n) for n in draw.integers(4, 16, 8)]
    return [batch(rows, shape)]

def memory():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096

used = []
def report(step, row):
    used.append(memory())
    if step % 20 == 0:
        print(step, flush=True)

plan = trainer.Plan(steps=steps, learning_rate=1e-2, seed=3, checkpoint_seconds=pause)
loss = lambda trained, frozen, batch, key: sft.loss(arch, lora.put(frozen, trained), batch)
result = trainer.train(loss, lora.adapter(params), params, batches, plan, folder / "checkpoints", report)
lora.save(folder, result.trained, {"rank": 4, "alpha": 8.0, "targets": list(LINEAR)})
(folder / "told.json").write_text(json.dumps({"used": used, "losses": [row["loss"] for row in result.history], "from": result.resumed_from}))
"""


def start(folder: Path, steps: int = STEPS, pause: float = 0.5) -> subprocess.Popen[str]:
    """A training that makes a checkpoint after every so many seconds."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, "-c", TRAIN, str(steps), str(folder), str(pause)], stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str], folder: Path) -> dict[str, list[float]]:
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    return json.loads((folder / "told.json").read_text())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_and_three_kills_change_no_byte(tmp_path: Path) -> None:
    begin = time.monotonic()
    # Memory by steps: how many checkpoints fall into them would depend on what else the machine does.
    whole = end(start(tmp_path / "whole", pause=3600), tmp_path / "whole")
    seconds = time.monotonic() - begin
    used = whole["used"]
    # 500 steps, after the first hundred have filled the pools of the allocators.
    growth = max(used[550:600]) - max(used[50:100])
    assert growth < 4e6, f"{growth / 1e6:.1f} MB more after 500 steps, of {used[100] / 1e6:.0f}"

    stopped = tmp_path / "stopped"
    for share in (0.25, 0.5, 0.75):
        process = start(stopped)
        for line in process.stdout or ():
            if int(line) >= share * STEPS:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
        assert not (stopped / "told.json").exists()
    again = end(start(stopped), stopped)
    assert again["from"] > 0.5 * STEPS, f"went on from step {again['from']} (one run takes {seconds:.0f} s)"
    assert len(whole["losses"]) == STEPS and again["losses"] == whole["losses"]
    assert file_digest(stopped / "adapter.safetensors") == file_digest(tmp_path / "whole" / "adapter.safetensors")
