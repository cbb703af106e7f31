"""Solon's side on an accelerator: `python solon_side.py JOB TASK.json`. Weights and products are bfloat16 there."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "speed"))

import shapes
from turns import Turns

Task = dict[str, Any]


def model(task: Task) -> tuple[Any, Any]:
    import jax.numpy as jnp

    from solon.models.load import family, to_tree

    arch = shapes.architecture(task["model"])
    names = family(arch.family).names(arch)
    return arch, to_tree(arch, names, dict(shapes.tensors(arch)), jnp.dtype(task["dtype"]))


def parity(task: Task, turns: Turns) -> None:
    """Logits of one short row, float32, into the folder."""
    import numpy as np

    from solon.models.block import jit_forward

    arch, params = model(task)
    out = jit_forward(arch, params, np.asarray([task["row"]], np.int32))[0]
    np.save(task["folder"] + "/solon.npy", np.asarray(out, np.float32))
    turns.end()


def _steps(task: Task, turns: Turns, make: Any, loss: Any, arch: Any, params: Any) -> None:
    """Training steps of a fresh adapter, each a turn."""
    import jax

    from solon.learn import lora, trainer

    params = lora.attach(arch, params, rank=16, alpha=32.0, seed=0)
    plan = trainer.Plan(task["rounds"] + 1, 1e-4, schedule="constant")

    def batches(step: int) -> list[Any]:
        turns.take()
        return [make(step)]

    def watch(done: int, trained: Any) -> None:
        jax.block_until_ready(trained)
        turns.give()

    def whole(trained: Any, frozen: Any, batch: Any, key: Any) -> Any:
        return loss(lora.put(frozen, trained), batch)

    history = trainer.train(whole, lora.adapter(params), params, batches, plan, watch=watch).history
    turns.end(losses=[row["loss"] for row in history])


def _rows(task: Task, step: int, count: int) -> list[Any]:
    from solon.core.keys import rng
    from solon.text.template import Tokens

    length = task["work"]["length"]
    drawn = rng("gpu bench", "rows", step).integers(1, task["vocabulary"], (count, length))
    return [Tokens(row.tolist(), [True] * length) for row in drawn]


def sft(task: Task, turns: Turns) -> None:
    from solon.learn.objectives import sft as objective
    from solon.text.batches import batch, shape_of

    arch, params = model(task)
    count, length = task["work"]["rows"], task["work"]["length"]
    shape = shape_of([_rows(task, 0, count)], length)
    _steps(task, turns, lambda step: batch(_rows(task, step, count), shape), partial(objective.loss, arch), arch, params)


def dpo(task: Task, turns: Turns) -> None:
    """The reference is scored in the step, as the other side does it."""
    import jax
    import numpy as np

    from solon.learn.objectives import dpo as objective
    from solon.learn.objectives.sft import sums
    from solon.models.logprobs import scored
    from solon.text.batches import batch, shape_of

    arch, params = model(task)
    pairs, length = task["work"]["pairs"], task["work"]["length"]
    shape = shape_of([_rows(task, 0, 2 * pairs)], length)
    reference = jax.jit(lambda params, rows: sums(scored(arch, params, rows), rows))

    def make(step: int) -> Any:
        rows = batch(_rows(task, step, 2 * pairs), shape)
        ones = np.ones(pairs, np.float32)
        return objective.Pairs(rows, ones, ones, np.asarray(reference(params, rows)))

    _steps(task, turns, make, lambda params, batch: objective.loss(arch, params, batch, 0.1), arch, params)


def decode(task: Task, turns: Turns) -> None:
    """Prefill and decoding at one batch: a run of all tokens less a run of one."""
    import jax.numpy as jnp
    import numpy as np

    from solon.core.keys import rng
    from solon.generate.engine import Engine, Request
    from solon.models.load import Model

    class Words:
        stop_ids: frozenset[int] = frozenset()

        def decode(self, tokens: Any, skip_special: bool = True) -> str:
            return ""

    arch, params = model(task)
    work, batch = task["work"], task["batch"]
    engine = Engine(Model("bench", arch, params, Words(), "", ""), batch)  # type: ignore[arg-type]
    engine.stop_ids = jnp.array([-1], jnp.int32)
    prompts = np.asarray(rng("gpu bench", "prompts").integers(1, task["vocabulary"], (batch, work["prompt"]))).tolist()

    def timed(count: int) -> float:
        begin = time.perf_counter()
        engine.sample([Request(ids, max_tokens=count, temperature=0.0) for ids in prompts])
        return time.perf_counter() - begin

    def once(number: int) -> Task:
        timed(1)  # the first call of a turn wakes what slept; its cost, subtracted below, would flatter decoding
        return {"prefill": (prefill := timed(1)), "seconds": timed(work["new"]) - prefill}

    turns.rounds(task["rounds"], once)
    turns.end()


def ceilings(task: Task, turns: Turns) -> None:
    import jax
    import jax.numpy as jnp

    side = task["ceiling"]
    x = jnp.ones((side, side), jnp.bfloat16)
    product = jax.jit(lambda x: jax.lax.dot(x, x, preferred_element_type=jnp.float32).astype(jnp.bfloat16))
    many = jnp.ones(side * side * 8, jnp.bfloat16)
    double = jax.jit(lambda x: x * 2)

    def best(run: Any, *given: Any) -> float:
        run(*given).block_until_ready()
        seen = []
        for _ in range(10):
            begin = time.perf_counter()
            run(*given).block_until_ready()
            seen.append(time.perf_counter() - begin)
        return min(seen)

    turns.rounds(task["rounds"], lambda number: {
        "rate": 2 * side**3 / best(product, x) / 1e9, "bandwidth": 2 * many.nbytes / best(double, many) / 1e9,
    })  # fmt: skip
    turns.end()


JOBS = {"parity": parity, "sft": sft, "dpo": dpo, "decode": decode, "ceilings": ceilings}

if __name__ == "__main__":
    JOBS[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()), Turns())
