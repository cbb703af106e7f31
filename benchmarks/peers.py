"""Solon beside the programs that people use today, on this machine: one table, and `benchmarks/results/cpu.json`.

    make bench                           everything, with an environment of its own for the peers (about 25 minutes)
    make bench ARGS="--only sft dpo"     some rows; the other rows of the file stay
    make bench ARGS="--tiny"             a random model of two layers and no file: does every script run?

Both programs of a row are started together and take strict turns, so they meet the same machine; the first turn of each is
its warm-up, figures are medians of the others. The ceilings are measured in the same run. `others` is the share of all cores
that neither program used but somebody did: above a few hundredths the figures are contended. A program that fails is
named and loses no other row.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "speed"))

import bounds  # noqa: E402

RESULTS = HERE / "results" / "cpu.json"
WORK = HERE.parent / "build" / "bench"
MODEL = "smollm2-135m-instruct"
PATIENCE = 900  # seconds that one turn may take
# As `solon align` starts itself (cli/memory.py); the peers get the same, which can only help them.
PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}

SIZES = {
    "rows": 8, "length": 512, "pairs": 2, "prompts": 256, "shortest_prompt": 16, "longest_prompt": 256, "shortest_answer": 8,
    "longest_answer": 128, "slots": 64, "batch": 32, "prompt": 128, "new": 128, "ceiling": 2048,
    "asked": 8, "asked_length": 56, "group": 4, "rollout": 64,
}  # fmt: skip
TINY = {
    "rows": 2, "length": 64, "pairs": 2, "prompts": 8, "shortest_prompt": 4, "longest_prompt": 24, "shortest_answer": 2,
    "longest_answer": 8, "slots": 4, "batch": 4, "prompt": 16, "new": 8, "ceiling": 128,
    "asked": 2, "asked_length": 12, "group": 2, "rollout": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the table. `amount` is what a round does, in `unit` without its `/s`; rows whose rounds say how many tokens
    they made need none. `target` is the ratio aimed at."""

    name: str
    what: str
    unit: str
    peer: str
    script: str
    target: float
    amount: str = ""
    environment: dict[str, str] = field(default_factory=dict)


ROWS = (
    Row("sft", "LoRA SFT r=16, {rows} x {length} packed", "tokens/s", "TRL + PEFT, bf16", "peer_trl.py", 2.0, "rows*length"),
    Row("dpo", "DPO, {pairs} pairs of length {length}", "pairs/s", "TRL, bf16", "peer_trl.py", 2.0, "pairs"),
    Row("grpo", "GRPO step, {asked} prompts x {group} answers x {rollout}", "steps/s", "TRL, bf16", "peer_trl.py", 2.0),
    Row("rollouts", "{prompts} mixed prompts, answers to {longest_answer}", "useful tokens/s", "transformers, bf16, batch {batch}", "peer_generate.py", 2.0),
    Row("decode32", "decode, batch {batch} x {new}", "tokens/s", "transformers, bf16", "peer_generate.py", 1.3),
    Row("decode1", "decode, batch 1, int4", "tokens/s", "llama.cpp Q4_1", "peer_llama.py", 0.5, environment={"BENCH_WEIGHTS": "int4"}),
    Row("first_cold", "start to first SFT step, nothing compiled", "seconds", "TRL", "peer_trl.py", 1.0),
    Row("first_again", "the same, second start", "seconds", "TRL", "peer_trl.py", 1.0),
)  # fmt: skip


class ProgramError(Exception):
    """A program did not come to its end; what it last said."""


class Program:
    """One of the two: a process that takes turns (`speed/turns.py`)."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None):
        self.name, self.begun = name, time.monotonic()
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (lives as long as the program)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=os.environ | PAGES | (environment or {})
        )
        self.lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            if line.startswith("@"):
                self.lines.put(line)
        self.lines.put(None)

    def hear(self, word: str) -> dict[str, Any]:
        """Wait for one word of the protocol and give what was said with it."""
        try:
            line = self.lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise ProgramError(f"{self.name} said nothing for {PATIENCE} s") from None
        if line is None or not line.startswith(f"@{word} "):
            raise ProgramError(f"{self.name}: {self._last_words() if line is None else line.strip()}")
        return json.loads(line.partition(" ")[2])

    def turn(self) -> dict[str, Any]:
        """Let it work once; the wall seconds it had and what it says of them."""
        self.hear("ready")
        assert self.process.stdin
        try:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise ProgramError(f"{self.name}: {self._last_words()}") from None
        return self.hear("done")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.errors.close()

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _last_words(self) -> str:
        self.process.wait()
        self.errors.seek(0)
        said = [line.strip() for line in self.errors.read().splitlines() if line.strip()]
        return f"exit {self.process.returncode}: {said[-1][:300] if said else 'no message'}"


@dataclass
class Side:
    """What one program showed: its rounds after the warm-up, its last word, and why it failed if it did."""

    rounds: list[dict[str, Any]] = field(default_factory=list)
    first: float = 0.0
    end: dict[str, Any] = field(default_factory=dict)
    failure: str = ""

    def rates(self, amount: float) -> list[float]:
        return [(one.get("tokens") or amount) / one["seconds"] for one in self.rounds]


def alternate(commands: Sequence[tuple[str, Sequence[str], dict[str, str]]], rounds: int) -> tuple[list[Side], float]:
    """Warm-up and rounds in strict turns, A B A B; and the share of the cores that somebody else used meanwhile.

    Programs start one after the other, so that no start is slowed by another's. One that fails is left out of the rest.
    """
    sides, programs = [Side() for _ in commands], [None for _ in commands]  # type: list[Side], list[Program | None]
    busy, ours, begun = 0.0, 0.0, _busy()
    try:
        for number in range(rounds + 2):
            for place, (name, command, environment) in enumerate(commands):
                if sides[place].failure:
                    continue
                try:
                    if number == 0:
                        programs[place] = Program(name, command, environment)
                    program = programs[place]
                    assert program is not None
                    if number <= rounds:
                        told = program.turn()
                        if number == 0:
                            sides[place].first = time.monotonic() - program.begun
                        else:
                            sides[place].rounds.append(told)
                    else:
                        ours += program.cpu()
                        sides[place].end = program.hear("end")
                except ProgramError as failure:
                    sides[place].failure = str(failure)
        busy = _busy() - begun
        return sides, max(1 - ours / busy, 0.0) if busy and ours else 0.0
    finally:
        for program in programs:
            if program is not None:
                program.stop()


def _busy() -> float:
    """Seconds that the cores have worked since the machine's start, all programs together."""
    words = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(words[:3]) + sum(words[5:8])) / os.sysconf("SC_CLK_TCK")


class Bench:
    """One run: the task both sides work on, the ceilings, and the rows as they come."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.sizes = options, TINY if options.tiny else SIZES
        self.folder = Path(tempfile.mkdtemp(prefix="solon-bench-"))
        self.task: dict[str, Any] = {
            "name": MODEL, "model": str(WORK / MODEL), "gguf": "", "data": str(self.folder / "data.json"), "sizes": self.sizes,
            "rounds": options.rounds, "steps": options.rounds + 1, "checkpointing": {"sft": True, "dpo": options.dpo_checkpointing, "grpo": False},
            "tiny": options.tiny,
        }  # fmt: skip
        self.ceilings: dict[str, float] = {}
        self.commit = _said("git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=10") or "unknown"
        self.machine = machine()

    def prepare(self) -> None:
        """Write the task and the data, and measure the ceilings."""
        if self.options.tiny:
            self.task |= {"name": str(self.folder / "tiny"), "model": str(self.folder / "tiny")}
        self._write()
        done = subprocess.run(self.command("prepare"), capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the benchmark's data could not be made: {done.stderr.strip()[-500:]}")
        self.task["gguf"] = json.loads(Path(self.task["data"]).read_text())["gguf"]
        self._write()
        sides, _ = alternate([("XLA", self.command("ceilings"), {}), ("torch", self.peer("peer_generate.py", "ceilings"), {})], self.options.rounds)
        for name in ("bfloat16", "float32", "bandwidth"):
            seen = {who: max((one[name] for one in side.rounds), default=0.0) for who, side in zip(("XLA", "torch"), sides, strict=True)}
            best = max(seen, key=seen.__getitem__)
            self.ceilings[name] = seen[best]
            unit = "GB/s" if name == "bandwidth" else "GF/s"
            print(f"ceiling {name:9} {seen[best]:8.0f} {unit} ({best}; " + ", ".join(f"{k} {v:.0f}" for k, v in seen.items()) + ")", flush=True)
        for who, side in zip(("XLA", "torch"), sides, strict=True):
            if side.failure:
                print(f"ceiling: {who} failed: {side.failure}", flush=True)

    def _write(self) -> None:
        (self.folder / "task.json").write_text(json.dumps(self.task))

    def command(self, row: str) -> list[str]:
        return [sys.executable, str(HERE / "speed" / "ours.py"), row, str(self.folder / "task.json")]

    def peer(self, script: str, row: str) -> list[str]:
        return [self.options.peer_python or sys.executable, str(HERE / "speed" / script), row, str(self.folder / "task.json")]

    def measure(self, row: Row) -> dict[str, Any]:
        """One line of the table."""
        amount = 1.0
        for name in filter(None, row.amount.split("*")):
            amount *= self.sizes[name]
        commands = [("Solon", self.command(row.name), row.environment), (self.peer_name(row), self.peer(row.script, row.name), {})]
        (ours, peer), others = alternate(commands, self.options.rounds)
        return self.line(row, ours, peer, amount, others)

    def peer_name(self, row: Row) -> str:
        return row.peer.format(**self.sizes)

    def first_steps(self) -> list[dict[str, Any]]:
        """Seconds from the start of a process to the end of its first step: cold, again with what was compiled, and TRL."""
        names = ("first_cold", "first_again")
        cold, again, peer = Side(), Side(), Side()
        begun, used = _busy(), 0.0
        for number in range(self.options.rounds):
            compiled = self.folder / f"compiled-{number}"
            for side, who, command in (
                (cold, "Solon", self.command("first")), (again, "Solon", self.command("first")), (peer, "TRL", self.peer("peer_trl.py", "first")),
            ):  # fmt: skip
                if side.failure:
                    continue
                program = Program(who, command, {"SOLON_COMPILED": str(compiled)})
                try:
                    program.turn()
                    side.rounds.append({"seconds": time.monotonic() - program.begun})
                    used += program.cpu()
                    side.end = program.hear("end")
                except ProgramError as failure:
                    side.failure = str(failure)
                finally:
                    program.stop()
        others = max(1 - used / max(_busy() - begun, 1e-9), 0.0)
        rows = {row.name: row for row in ROWS}
        return [self.line(rows[name], side, peer, 0.0, others) for name, side in zip(names, (cold, again), strict=True)]

    def line(self, row: Row, ours: Side, peer: Side, amount: float, others: float) -> dict[str, Any]:
        """The record of one row, as it goes into the file."""
        seconds = row.unit == "seconds"
        value = {}
        for who, side in (("ours", ours), ("peer", peer)):
            figures = [one["seconds"] for one in side.rounds] if seconds else side.rates(amount)
            value[who] = {"middle": statistics.median(figures) if figures and not side.failure else None, "all": [round(x, 3) for x in figures]}
        mine, theirs = value["ours"]["middle"], value["peer"]["middle"]
        ratio = None if not mine or not theirs else theirs / mine if seconds else mine / theirs
        return {
            "name": row.name, "what": row.what.format(**self.sizes), "unit": row.unit, "ours": mine, "peer": theirs, "peer_is": self.peer_name(row),
            "ratio": ratio, "target": row.target, "bound_share": self.share(row, ours, peer)[0], "peer_bound_share": self.share(row, ours, peer)[1],
            "ours_rounds": value["ours"]["all"], "peer_rounds": value["peer"]["all"], "rounds": min(len(ours.rounds), len(peer.rounds)),
            "ours_peak_mb": ours.end.get("peak_mb"), "peer_peak_mb": peer.end.get("peak_mb"), "others": round(others, 3),
            "failures": [text for text in (ours.failure, peer.failure) if text], "sizes": self.sizes, "ceilings": self.ceilings,
            "machine": self.machine, "commit": self.commit, "when": datetime.now(UTC).isoformat(timespec="minutes"),
        }  # fmt: skip

    def share(self, row: Row, ours: Side, peer: Side) -> list[float | None]:
        """Each side's share of the bound: the least seconds of a round over those it took."""
        out: list[float | None] = []
        data = json.loads(Path(self.task["data"]).read_text())
        for side in (ours, peer):
            if side.failure or not side.rounds or not all(self.ceilings.values()):
                out.append(None)
                continue
            least = bounds.least_seconds(row.name, self.task, data, self.ceilings, side.end.get("weights", 0))
            out.append(least / statistics.median(one["seconds"] for one in side.rounds) if least else None)
        return out


def machine() -> str:
    """The processor, its cores, its memory and what was installed."""
    cpu = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown")
    flags = set(Path("/proc/cpuinfo").read_text().split())
    kinds = [name for name in ("avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{cpu}, {os.cpu_count()} cores, {' '.join(kinds)}, {memory:.0f} GB, Linux {platform.release()}"


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def number(value: float | None, form: str = ".3g") -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 1000 else format(value, form)


def tell(row: dict[str, Any]) -> None:
    """One line of the table for people."""
    if row["ours"] is None or row["peer"] is None:
        print(f"{row['name']:12} {row['what']:44} {'; '.join(row['failures'])}", flush=True)
    else:
        share = f"{row['bound_share']:.0%}" if row["bound_share"] else ""
        memory = "/".join(number(row[f"{who}_peak_mb"], ".0f") for who in ("ours", "peer"))
        print(
            f"{row['name']:12} {row['what']:44} {number(row['ours']):>8} {number(row['peer']):>8} {row['unit']:16} {row['ratio']:5.2f}x"
            f" (target {row['target']:.1f}x)  of bound {share:>4}  peak MB {memory:>13}  others {row['others']:.0%}", flush=True,
        )  # fmt: skip


def write(lines: list[dict[str, Any]], path: Path) -> None:
    """Put these rows into the file; rows that were not measured now stay as they are."""
    old = json.loads(path.read_text())["rows"] if path.exists() else []
    new = {line["name"]: line for line in old} | {line["name"]: line for line in lines}
    order = [row.name for row in ROWS]
    path.parent.mkdir(exist_ok=True)
    rows = sorted(new.values(), key=lambda line: order.index(line["name"]) if line["name"] in order else len(order))
    path.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


def main() -> None:
    """Measure the rows that were asked for, one after the other, and keep each as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[row.name for row in ROWS], default=[], help="rows to measure")
    parser.add_argument("--rounds", type=int, default=3, help="timed turns of each side")
    parser.add_argument("--peer-python", default="", help="the Python that has the peers; this one if not given")
    parser.add_argument("--dpo-checkpointing", action="store_true", help="TRL's DPO with gradient checkpointing")
    parser.add_argument("--tiny", action="store_true", help="a random model and small sizes; nothing is written without --out")
    parser.add_argument("--out", type=Path, default=None, help=f"the file to write ({RESULTS.relative_to(HERE.parent)})")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that no program outlives the comparison
    out = options.out or (None if options.tiny else RESULTS)
    bench = Bench(options)
    try:
        bench.prepare()
        lines: list[dict[str, Any]] = []
        for row in ROWS:
            if (options.only and row.name not in options.only) or any(line["name"] == row.name for line in lines):
                continue
            new = bench.first_steps() if row.name.startswith("first") else [bench.measure(row)]
            for line in new:
                tell(line)
            lines += new
            if out:
                write(lines, out)
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)
    broken = sorted({text for line in lines for text in line["failures"]})
    for text in broken:
        print(f"FAILED: {text}", file=sys.stderr)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
