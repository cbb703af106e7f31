"""transformers and peft's side on an accelerator: `python torch_side.py JOB TASK.json`. bfloat16; a plain loop, since TRL need
not be there, with fused AdamW and without gradient checkpointing (`"checkpointing": true` in the task turns it on)."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "speed"))

import shapes
import torch
from turns import Turns

Task = dict[str, Any]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def model(task: Task) -> Any:
    """The same random weights in transformers' class, loaded tensor by tensor."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from solon.models.formats.hf_config import hf_config

    arch = shapes.architecture(task["model"])
    config = hf_config(arch)
    kind = config.pop("model_type")
    dtype = getattr(torch, task["dtype"])
    with torch.device(DEVICE):
        made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **config), dtype=dtype)
    state = made.state_dict()
    with torch.no_grad():
        for name, array in shapes.tensors(arch):
            state[name].copy_(torch.from_numpy(array))
    return made.eval()


def wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def parity(task: Task, turns: Turns) -> None:
    import numpy as np

    with torch.no_grad():
        out = model(task)(torch.tensor([task["row"]], device=DEVICE)).logits
    np.save(task["folder"] + "/torch.npy", out.float().cpu().numpy())
    turns.end()


def adapted(task: Task) -> tuple[Any, Any]:
    from peft import LoraConfig, get_peft_model

    linears = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    whole = model(task).train()
    if task["checkpointing"]:
        whole.gradient_checkpointing_enable({"use_reentrant": False})
        whole.enable_input_require_grads()
    whole = get_peft_model(whole, LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=linears, task_type="CAUSAL_LM"))
    trained = [p for p in whole.parameters() if p.requires_grad]
    return whole, torch.optim.AdamW(trained, lr=1e-4, fused=DEVICE == "cuda")


def rows(task: Task, step: int, count: int) -> Any:
    from solon.core.keys import rng

    return torch.from_numpy(rng("gpu bench", "rows", step).integers(1, task["vocabulary"], (count, task["work"]["length"]))).to(DEVICE)


def _train(task: Task, turns: Turns, loss: Any) -> None:
    whole, optimiser = adapted(task)

    def once(step: int) -> None:
        loss(whole, step).backward()
        torch.nn.utils.clip_grad_norm_([p for p in whole.parameters() if p.requires_grad], 1.0)
        optimiser.step()
        optimiser.zero_grad()
        wait()

    turns.rounds(task["rounds"], once)
    turns.end()


def sft(task: Task, turns: Turns) -> None:
    def loss(whole: Any, step: int) -> Any:
        ids = rows(task, step, task["work"]["rows"])
        return whole(input_ids=ids, labels=ids).loss

    _train(task, turns, loss)


def dpo(task: Task, turns: Turns) -> None:
    """Both sides of all pairs in one batch, the reference with the adapter off."""

    def sums(whole: Any, ids: Any) -> Any:
        scores = whole(input_ids=ids).logits[:, :-1]
        each = torch.nn.functional.cross_entropy(scores.reshape(-1, scores.shape[-1]), ids[:, 1:].reshape(-1), reduction="none")
        return -each.float().reshape(len(ids), -1).sum(1)

    def loss(whole: Any, step: int) -> Any:
        ids = rows(task, step, 2 * task["work"]["pairs"])
        with torch.no_grad(), whole.disable_adapter():
            reference = sums(whole, ids)
        margin = (0.1 * (sums(whole, ids) - reference)).reshape(-1, 2)
        return -torch.nn.functional.logsigmoid(margin[:, 0] - margin[:, 1]).mean()

    _train(task, turns, loss)


def decode(task: Task, turns: Turns) -> None:
    from solon.core.keys import rng

    whole, work = model(task), task["work"]
    ids = torch.from_numpy(rng("gpu bench", "prompts").integers(1, task["vocabulary"], (task["batch"], work["prompt"]))).to(DEVICE)

    def timed(count: int) -> float:
        begin = time.perf_counter()
        with torch.no_grad():
            whole.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0, eos_token_id=None, max_new_tokens=count, min_new_tokens=count
            )
        wait()
        return time.perf_counter() - begin

    def once(number: int) -> Task:
        timed(1)  # as on the other side
        return {"prefill": (prefill := timed(1)), "seconds": timed(work["new"]) - prefill}

    turns.rounds(task["rounds"], once)
    turns.end()


def ceilings(task: Task, turns: Turns) -> None:
    side = task["ceiling"]
    x = torch.ones(side, side, dtype=torch.bfloat16, device=DEVICE)
    many = torch.ones(side * side * 8, dtype=torch.bfloat16, device=DEVICE)

    def best(run: Any) -> float:
        run()
        wait()
        seen = []
        for _ in range(10):
            begin = time.perf_counter()
            run()
            wait()
            seen.append(time.perf_counter() - begin)
        return min(seen)

    turns.rounds(task["rounds"], lambda number: {
        "rate": 2 * side**3 / best(lambda: x @ x) / 1e9, "bandwidth": 2 * many.nbytes / best(lambda: many * 2) / 1e9,
    })  # fmt: skip
    turns.end()


JOBS = {"parity": parity, "sft": sft, "dpo": dpo, "decode": decode, "ceilings": ceilings}

if __name__ == "__main__":
    torch.manual_seed(0)
    JOBS[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()), Turns())
