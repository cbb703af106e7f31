"""How far replies depend on the kernels of core/kernels.py, and how much sooner they come: the same requests with them and
without, and both against the trainer.

    make bench BENCH=kernel_replies
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

MODEL = "smollm2-135m-instruct"
PREFIX, REPLIES, TOKENS = (0, 150), 40, 40
ROUNDS = 3


def main() -> None:
    first, second = (drawn(kernels) for kernels in ("on", "off"))
    for one, other in zip(first, second, strict=True):
        same = [a == b for a, b in zip(one["replies"], other["replies"], strict=True)]
        print(f"prefix of {one['prefix']} tokens: {sum(same)} of {len(same)} replies of {TOKENS} tokens are the same")
        for name, side in (("with", one), ("without", other)):
            print(f"  {name} kernels, to the trainer's log-probabilities: {np.mean(side['gaps']):.4f} nats on average, {max(side['gaps']):.3f} at most")
        told = ", ".join(f"{rows} at once {one['rates'][rows] / other['rates'][rows]:.2f} ({one['rates'][rows]:.0f}, {other['rates'][rows]:.0f})" for rows in one["rates"])
        print(f"  tokens a second of processor time, with to without: {told}")


def drawn(kernels: str) -> Any:
    """What a process of its own draws, since kernels are chosen once a process."""
    command = [sys.executable, __file__, "draw"]
    said = subprocess.run(command, env={**os.environ, "SOLON_KERNELS": kernels}, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(said.stdout.splitlines()[-1])


def draw() -> list[dict[str, Any]]:
    import jax.numpy as jnp

    from solon.generate.engine import Engine, Request
    from solon.generate.score import row_logprobs
    from solon.models.load import load
    from solon.text.template import Tokens

    model, rng = load(MODEL, dtype=jnp.bfloat16), random.Random(1)
    prefix = [rng.randrange(100, 40000) for _ in range(max(PREFIX))]
    found = []
    for length in PREFIX:
        prompts = [prefix[:length] + [rng.randrange(100, 40000) for _ in range(rng.randint(5, 200))] for _ in range(REPLIES)]
        engine = Engine(model)
        engine.stop_ids = jnp.array([-1], jnp.int32)  # all replies are of one length
        replies = engine.sample([Request(ids, key=("reply", i), max_tokens=TOKENS) for i, ids in enumerate(prompts)])
        rows = [Tokens([*ids, *one.tokens], [False] * len(ids) + [True] * len(one.tokens)) for ids, one in zip(prompts, replies, strict=True)]
        gaps = [np.abs(np.array(one.logprobs) - logp) for one, logp in zip(replies, row_logprobs(model, rows), strict=True)]
        rates = {rows: rate(engine, prompts[:rows]) for rows in (1, REPLIES)}
        found.append({"prefix": length, "replies": [list(one.tokens) for one in replies], "gaps": np.concatenate(gaps).tolist(), "rates": rates})
    return found


def rate(engine: Any, prompts: list[list[int]]) -> float:
    """Tokens a second of processor time, which other work on the machine leaves nearly alone: the median of calls after a first one."""
    from solon.generate.engine import Request

    taken = []
    for call in range(ROUNDS + 1):
        begin = time.process_time()
        engine.sample([Request(ids, key=("rate", call, i), max_tokens=TOKENS) for i, ids in enumerate(prompts)])
        taken.append(time.process_time() - begin)
    return len(prompts) * TOKENS / statistics.median(taken[1:])


if __name__ == "__main__":
    print(json.dumps(draw())) if sys.argv[1:] == ["draw"] else main()
