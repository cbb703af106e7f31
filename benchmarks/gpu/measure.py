"""Solon beside transformers and peft on an accelerator: parity, training, prefill and decoding of three model shapes in bf16.

    python benchmarks/gpu/measure.py [--models 135m 270m 7b] [--out FILE.json]
    python benchmarks/gpu/measure.py --models tiny          on any machine: do both sides run and agree?

Needs JAX with CUDA, torch, transformers and peft in one environment, and `src` on PYTHONPATH. Both sides take strict turns, as in
`benchmarks/peers.py`; figures are medians, and those that aim at something say whether it was met (`verdict`, `share_verdict`).
**No figure of this script has been measured yet**: no accelerator was lent. `--models tiny` has run to its end on a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "speed"), str(HERE)]

import bounds  # noqa: E402
import numpy as np  # noqa: E402
import shapes  # noqa: E402
from ours import facts  # noqa: E402
from peers import Side, alternate  # noqa: E402

# XLA would take three quarters of the memory and leave too little for the other side.
ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "HF_HUB_OFFLINE": "1"}


class Bench:
    """One run over one model."""

    def __init__(self, model: str, folder: Path, rounds: int, checkpointing: bool):
        self.model, self.folder, self.work, self.arch = model, folder, shapes.WORK[model], shapes.architecture(model)
        small = model == "tiny"
        self.task: dict[str, Any] = {
            "model": model, "work": self.work, "rounds": rounds, "folder": str(folder), "vocabulary": self.arch.vocab, "dtype": "bfloat16",
            "checkpointing": checkpointing, "row": list(range(1, 33)), "ceiling": 256 if small else 8192,
        }  # fmt: skip

    def both(self, job: str, rounds: int, **more: Any) -> list[Side]:
        path = self.folder / "task.json"
        path.write_text(json.dumps(self.task | more))
        commands = [(who, [sys.executable, str(HERE / script), job, str(path)], ENVIRONMENT) for who, script in
                    (("Solon", "solon_side.py"), ("transformers", "torch_side.py"))]  # fmt: skip
        return alternate(commands, rounds)[0]

    def parity(self) -> dict[str, Any]:
        """Difference of the logits of one row: in float32, so that a difference is a mistake and no rounding."""
        sides = self.both("parity", -1, dtype="float32")
        failures = [side.failure for side in sides if side.failure]
        if failures:
            return {"name": f"{self.model} parity", "failures": failures}
        one, two = (np.load(self.folder / f"{who}.npy") for who in ("solon", "torch"))
        return {"name": f"{self.model} parity", "largest_difference": float(np.abs(one - two).max()), "spread": float(two.std()), "failures": []}

    def rows(self, ceilings: dict[str, float]) -> list[dict[str, Any]]:
        work, rounds = self.work, self.task["rounds"]
        tokens = work["rows"] * work["length"]
        flops = {
            "sft": bounds.training(facts(self.arch), work["rows"], work["length"], work["rows"] * (work["length"] - 1), False),
            "dpo": bounds.training(facts(self.arch), 2 * work["pairs"], work["length"], 2 * work["pairs"] * (work["length"] - 1), True),
        }  # fmt: skip
        out = [self.parity()]
        for job, amount, unit in (("sft", tokens, "tokens/s"), ("dpo", work["pairs"], "pairs/s")):
            out.append(self.line(job, unit, amount, self.both(job, rounds), flops[job] / (ceilings["bfloat16"] * 1e9)))
        for batch in work["batches"]:
            sides, new = self.both("decode", rounds, batch=batch), work["new"] - 1
            least = new * bounds.decoding(facts(self.arch), ceilings, batch, work["prompt"] + work["new"] / 2)
            out.append(self.line(f"decode{batch}", "tokens/s", batch * new, sides, least))
            for side in sides:
                side.rounds = [{"seconds": one["prefill"]} for one in side.rounds]
            reading = 2 * facts(self.arch)["matrices"] * batch * work["prompt"] / (ceilings["bfloat16"] * 1e9)
            out.append(self.line(f"prefill{batch}", "tokens/s", batch * work["prompt"], sides, reading))
        return out

    def line(self, job: str, unit: str, amount: float, sides: list[Side], least: float) -> dict[str, Any]:
        """One row of the table; a side that failed has no figure."""
        figures = [0.0 if s.failure or not s.rounds else statistics.median(s.rates(amount)) for s in sides]
        ours, peer = (x if x > 0 else None for x in figures)  # a difference of two times that is lost in noise is no figure
        name, ratio, share = f"{self.model} {job}", ours / peer if ours and peer else None, ours * least / amount if ours else None
        target, share_target = shapes.TARGETS.get(job), shapes.SHARES.get(f"{self.model} {job}")
        return {
            "name": name, "unit": unit, "ours": ours, "peer": peer, "ratio": ratio, "target": target, "verdict": verdict(ratio, target),
            "bound_share": share, "share_target": share_target, "share_verdict": verdict(share, share_target),
            "rounds": min(len(s.rounds) for s in sides), "failures": [s.failure for s in sides if s.failure],
        }  # fmt: skip

    def ceilings(self) -> dict[str, float]:
        sides = self.both("ceilings", self.task["rounds"])
        best = lambda name: max((one[name] for side in sides for one in side.rounds), default=float("nan"))  # noqa: E731
        return {"bfloat16": best("rate"), "bandwidth": best("bandwidth")}


def verdict(value: float | None, target: float | None) -> str | None:
    """What a figure comes to beside its target; None where nothing is aimed at."""
    if target is None:
        return None
    return "not measured" if value is None else "met" if value >= target else "missed"


def device() -> str:
    """The accelerator, asked in another process so that this one holds none."""
    import subprocess

    code = "import jax; d = jax.devices()[0]; print(f'{d.platform}: {d.device_kind}, JAX {jax.__version__}')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | ENVIRONMENT).stdout.strip()


def main() -> None:
    """Measure the models that were asked for, and write what was found after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(shapes.WORK), default=["135m", "270m", "7b"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing on the peer's side")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    lines: list[dict[str, Any]] = []
    for model in options.models:
        with tempfile.TemporaryDirectory(prefix="solon-gpu-") as folder:
            bench = Bench(model, Path(folder), options.rounds, options.checkpointing)
            ceilings = bench.ceilings()
            print(f"{model}: {ceilings['bfloat16']:.0f} GF/s in bf16, {ceilings['bandwidth']:.0f} GB/s", flush=True)
            for row in bench.rows(ceilings):
                lines.append({**row, "ceilings": ceilings})
                print(json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}), flush=True)
        if options.out:
            made = {"device": device(), "when": datetime.now(UTC).isoformat(timespec="minutes"), "rows": lines}
            options.out.write_text(json.dumps(made, indent=1) + "\n")
    sys.exit(1 if any(row["failures"] for row in lines) else 0)


if __name__ == "__main__":
    main()
