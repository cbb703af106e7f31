"""transformers' side of sampling, bfloat16: `python peer_generate.py decode32|rollouts TASK.json`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from turns import Turns

os.environ["TQDM_DISABLE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import AutoModelForCausalLM, StoppingCriteria, StoppingCriteriaList

Task = dict[str, Any]


class Lengths(StoppingCriteria):
    """Ends row i after its own number of new tokens, as an end mark would."""

    def __init__(self, prompt: int, new: list[int]):
        self.ends = prompt + torch.tensor(new)

    def __call__(self, ids: torch.Tensor, scores: Any, **more: Any) -> torch.Tensor:
        return ids.shape[1] >= self.ends


def rollouts(task: Task, data: Task, model: Any, turns: Turns) -> None:
    """Batches of prompts of near lengths, padded on the left; a batch lasts until its longest answer is done."""
    order = sorted(range(len(data["prompts"])), key=lambda i: len(data["prompts"][i]))
    size = task["sizes"]["batch"]

    def some(group: list[int], new: list[int]) -> int:
        width = max(len(data["prompts"][i]) for i in group)
        rows = [[0] * (width - len(data["prompts"][i])) + data["prompts"][i] for i in group]
        seen = [[0] * (width - len(data["prompts"][i])) + [1] * len(data["prompts"][i]) for i in group]
        out = model.generate(
            torch.tensor(rows), attention_mask=torch.tensor(seen), do_sample=True, temperature=1.0, top_k=0, top_p=1.0, pad_token_id=0,
            eos_token_id=None, max_new_tokens=max(new), stopping_criteria=StoppingCriteriaList([Lengths(width, new)]),
        )  # fmt: skip
        assert out.shape[1] == width + max(new)
        return sum(new)

    def work(number: int) -> Task:
        torch.manual_seed(number)
        groups = [order[i : i + size] for i in range(0, len(order), size)]
        if number == 0:
            return {"tokens": some(groups[-1], [4] * len(groups[-1]))}
        return {"tokens": sum(some(group, [data["answers"][i] for i in group]) for group in groups)}

    turns.rounds(task["rounds"], work)


def decode(task: Task, data: Task, model: Any, turns: Turns) -> None:
    """Greedy, one length: a run of all tokens less a run of one."""
    ids, new = torch.tensor(data["fixed"]), task["sizes"]["new"]

    def timed(count: int) -> float:
        begin = time.perf_counter()
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0, max_new_tokens=count, min_new_tokens=count)
        assert out.shape[1] == ids.shape[1] + count
        return time.perf_counter() - begin

    def work(number: int) -> Task:
        if number == 0:
            return {"seconds": timed(4)}
        return {"prefill": (prefill := timed(1)), "seconds": timed(new) - prefill, "tokens": len(ids) * (new - 1)}

    turns.rounds(task["rounds"], work)


def ceilings(task: Task, data: Task, model: Any, turns: Turns) -> None:
    """torch's rates: bf16 and f32 products, GF/s, and a sum over memory, GB/s."""
    side = task["sizes"]["ceiling"]
    many = torch.ones(side * side * 16)

    def best(run: Any) -> float:
        run()
        seen = []
        for _ in range(5):
            begin = time.perf_counter()
            run()
            seen.append(time.perf_counter() - begin)
        return min(seen)

    def work(number: int) -> Task:
        rates = {}
        for name in ("bfloat16", "float32"):
            x, y = torch.randn(side, side).to(getattr(torch, name)), torch.randn(side, side).to(getattr(torch, name))
            rates[name] = 2 * side**3 / best(lambda x=x, y=y: x @ y.T) / 1e9
        return {**rates, "bandwidth": many.nbytes / best(many.sum) / 1e9}

    turns.rounds(task["rounds"], work)


ROWS = {"decode32": decode, "rollouts": rollouts, "ceilings": ceilings}

if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count() or 1)
    name, task, turns = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Turns()
    data = json.loads(Path(task["data"]).read_text())
    model = None if name == "ceilings" else AutoModelForCausalLM.from_pretrained(task["model"], dtype=torch.bfloat16).eval()
    with torch.no_grad():
        ROWS[name](task, data, model, turns)
    turns.end()
