"""Solon's side of the comparison: `python ours.py ROW TASK.json`, one process a row. The product's own code is what runs.

`prepare` writes what both sides work on: the model as a Hugging Face folder, and the tokens.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from turns import Turns

Task = dict[str, Any]


def prepare(task: Task, turns: Turns) -> None:
    """Export the model, and cut the starter texts into training rows, pairs and prompts of the sizes asked for."""
    from solon.core.keys import rng
    from solon.curate import starter
    from solon.models.hub import locate
    from solon.models.load import load
    from solon.stages import export
    from solon.stages.models import ready
    from solon.text.template import encode_chat

    model = tiny() if task["tiny"] else ready(load(task["name"]))
    folder = Path(task["model"])
    if not (folder / "solon.json").exists():
        export.export(model, task["name"], folder, export.Order("hf"))
    if task["tiny"]:
        export.export(model, task["name"], folder.with_name("gguf"), export.Order("gguf"))
        gguf = next(folder.with_name("gguf").glob("*.gguf"))
    else:
        gguf = locate(task["name"])
    chats = [one.messages for one in starter.load("demonstrations")]
    stream = [token for chat in chats for token in encode_chat(model.tokenizer, chat)]

    def cut(start: int, length: int) -> list[int]:
        return [stream[(start + i) % len(stream)] for i in range(length)]

    sizes = task["sizes"]
    length = sizes["length"]
    rows = [cut(i * length, length) for i in range(sizes["rows"] * task["steps"])]
    # A pair: the same prompt of an eighth of the length, two answers that fill the rest.
    eighth = length // 8
    pairs = [
        {"prompt": cut(i * length, eighth), "answers": [cut((2 * i + side) * length + 7, length - eighth) for side in (0, 1)]}
        for i in range(sizes["pairs"] * task["steps"])
    ]
    draw = rng("bench", "lengths")
    spread = draw.integers(sizes["shortest_prompt"], sizes["longest_prompt"] + 1, sizes["prompts"])
    answers = draw.integers(sizes["shortest_answer"], sizes["longest_answer"] + 1, sizes["prompts"])
    prompts = [cut(int(draw.integers(len(stream))), int(n)) for n in spread]
    fixed = [cut(i * 37, sizes["prompt"]) for i in range(sizes["batch"])]
    made = {"rows": rows, "pairs": pairs, "prompts": prompts, "answers": [int(n) for n in answers], "fixed": fixed}
    # TRL wants texts, so these prompts are texts on both sides; as tokens they are about `asked_length` long.
    starts = range(0, sizes["asked"] * task["steps"] * sizes["asked_length"], sizes["asked_length"])
    made["asked"] = [model.tokenizer.decode(cut(start, sizes["asked_length"]), skip_special=True) for start in starts]
    made |= {"facts": facts(model.arch), "gguf": str(gguf)}
    Path(task["data"]).write_text(json.dumps(made))


def tiny() -> Any:
    """A random model of two layers over bytes."""
    from solon.core.weights import init
    from solon.models.architecture import Architecture, spec
    from solon.models.load import Model
    from solon.stages.models import ready
    from solon.text.tokenizer import BYTE_OF_CHARACTER, Tokenizer

    letters = sorted(BYTE_OF_CHARACTER, key=BYTE_OF_CHARACTER.__getitem__)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters]
    tokenizer = Tokenizer.from_gguf({
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, 3] + [1] * len(letters), "tokenizer.ggml.merges": [],
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.padding_token_id": 0,
    })  # fmt: skip
    arch = Architecture(
        family="llama", layers=2, embed=64, heads=4, kv_heads=2, head_dim=16, mlp=128, vocab=tokenizer.vocab_size, context=512, norm_eps=1e-5,
    )  # fmt: skip
    return ready(Model("tiny", arch, init(spec(arch), arch.sizes, seed=0), tokenizer, "apache-2.0", "tiny"))


def facts(arch: Any) -> dict[str, int]:
    """What the bounds are computed from (`bounds.py`)."""
    heads, kv = arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
    layer = arch.embed * (heads + 2 * kv) + heads * arch.embed + 3 * arch.embed * arch.mlp
    sides = 7 * arch.embed + 2 * heads + 2 * kv + 3 * arch.mlp  # ins and outs of the seven linears, summed
    return {
        "matrices": arch.layers * layer, "table": arch.vocab * arch.embed, "layers": arch.layers, "heads": heads, "kv": kv,
        "adapter_width": arch.layers * sides,
    }  # fmt: skip


def load_for(task: Task, work: str) -> Any:
    from solon.core.precision import dtype_of
    from solon.models.load import load
    from solon.stages.models import ready

    return ready(load(task["model"], dtype_of("auto", work)))


def sft(task: Task, turns: Turns) -> None:
    """LoRA training steps through `Course` and the trainer, packed rows, every token learned."""
    import jax
    import numpy as np

    from solon.learn.objectives import sft as objective
    from solon.stages.fit import Course, Fit
    from solon.text.batches import batch, shape_of
    from solon.text.template import Tokens

    data, count = made(task), task["sizes"]["rows"]
    model = load_for(task, "training")
    rows = [Tokens(ids, [True] * len(ids)) for ids in data["rows"]]
    groups = [rows[i : i + count] for i in range(0, len(rows), count)][: task["rounds"] + 1]
    shape = shape_of(groups, task["sizes"]["length"])
    losses: list[float] = []

    def batches(step: int) -> Any:
        turns.take()
        return [batch(groups[step], shape)]

    def watch(done: int, trained: Any) -> None:
        jax.block_until_ready(trained)
        turns.give()

    config = Fit(batch=count, micro=count, length=task["sizes"]["length"], learning_rate=1e-4, schedule="constant", warmup=0)
    course = Course(model, config, 0, len(groups), partial(objective.loss, model.arch), batches, [count] * len(groups))
    result = course.run(watch=watch, report=lambda step, row: losses.append(row["loss"]))
    trainable = sum(int(np.prod(x.shape)) for parts in result.trained.values() for x in parts.values())
    turns.end(losses=losses, trainable=trainable, dtype=str(model.params["blocks"]["q"].dtype))


def dpo(task: Task, turns: Turns) -> None:
    """DPO steps with the reference scored in the step, as TRL does it; the product scores it once for all epochs."""
    import jax
    import numpy as np

    from solon.generate.score import row_logprobs
    from solon.learn.objectives import dpo as objective
    from solon.stages import dpo as stage
    from solon.stages.fit import Course
    from solon.text.batches import shape_of
    from solon.text.template import Tokens

    data, count = made(task), task["sizes"]["pairs"]
    model = load_for(task, "training")

    def sides(pair: Task) -> list[Tokens]:
        prompt = pair["prompt"]
        return [Tokens(prompt + ids, [False] * len(prompt) + [True] * len(ids)) for ids in pair["answers"]]

    both = [sides(pair) for pair in data["pairs"]]
    groups = [range(i, i + count) for i in range(0, len(both), count)][: task["rounds"] + 1]
    rows_of = lambda group: [row for i in group for row in both[i]]  # noqa: E731
    shape = shape_of([rows_of(group) for group in groups], task["sizes"]["length"])
    p_first = np.ones(len(both), np.float32)
    losses: list[float] = []

    def batches(step: int) -> Any:
        turns.take()
        rows = rows_of(groups[step])
        reference = np.zeros(2 * len(both), np.float32)
        sums = [x.sum() for x in row_logprobs(model, rows)]
        reference[[2 * i + side for i in groups[step] for side in (0, 1)]] = sums
        return [stage._pairs(list(groups[step]), rows, shape, p_first, np.ones(len(p_first), np.float32), reference)]

    def watch(done: int, trained: Any) -> None:
        jax.block_until_ready(trained)
        turns.give()

    config = stage.Dpo(batch=count, micro=count, length=task["sizes"]["length"], learning_rate=1e-5, schedule="constant", warmup=0)

    def loss(params: Any, pairs: Any) -> Any:
        return objective.loss(model.arch, params, pairs, config.beta)

    course = Course(model, config, 0, len(groups), loss, batches, [count] * len(groups))
    course.run(watch=watch, report=lambda step, row: losses.append(row["loss"]))
    turns.end(losses=losses)


def grpo(task: Task, turns: Turns) -> None:
    """GRPO steps through the stage's own rounds: draw, reward, one update. No answer ends before its last token, as for TRL."""
    from dataclasses import replace

    import jax

    from solon.stages.grpo import Grpo, Rounds

    sizes, rounds = task["sizes"], task["rounds"] + 1
    count, drawn, history = sizes["asked"] * sizes["group"], list[int](), list[dict[str, float]]()
    model = load_for(task, "training")
    model = replace(model, tokenizer=Unending(model.tokenizer.with_template("{{ messages[0]['content'] }}")))
    rows = [
        {"id": str(i), "prompt": [{"role": "user", "content": text}]} for i, text in enumerate(made(task)["asked"][: sizes["asked"] * rounds])
    ]
    config = Grpo(
        batch=count, group=sizes["group"], micro=count, length=model.arch.context, max_tokens=sizes["rollout"], steps=rounds,
        learning_rate=1e-5,
    )  # fmt: skip

    def vowels(rows: Any, replies: Any) -> list[float]:
        return [sum(one in "aeiou" for one in reply) / (1 + len(reply)) for reply in replies]

    def kept(name: str, places: Any, make: Any) -> Any:
        made = make(places)
        drawn.extend(len(one["tokens"]) for one in made)
        return made

    lesson = Rounds(config, model, rows, vowels, 0, kept)

    def policy(step: int, trained: Any) -> None:
        turns.take()
        lesson.policy(step, trained)

    def watch(done: int, trained: Any) -> None:
        jax.block_until_ready(trained)
        turns.give()

    lesson.course().run(watch=watch, policy=policy, report=lambda step, row: history.append(row))
    assert set(drawn) == {sizes["rollout"]} and len(drawn) == count * rounds
    turns.end(losses=[row["loss"] for row in history], gap=max(row["sampler_gap"] for row in history), shape=list(lesson.shape))


class Unending:
    """A tokenizer of a model that never ends its turn."""

    stop_ids = frozenset()

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


def first(task: Task, turns: Turns) -> None:
    """Start to the end of the first training step; the coordinator gives the folder for compiled programs."""
    from solon.core.compiled import keep

    keep(os.environ)
    sft({**task, "rounds": 0}, turns)


def engine_for(task: Task, slots: int, work: str, kind: str = "") -> Any:
    """A sampler that never stops at a mark: lengths are fixed, so that both sides do the same work."""
    from dataclasses import replace

    import jax.numpy as jnp

    from solon.core.quantise import quantise
    from solon.generate.engine import Engine
    from solon.models.architecture import spec

    model = load_for(task, work)
    if kind:
        model = replace(model, params=quantise(spec(model.arch), model.params, kind, ""))
    engine = Engine(model, slots)
    engine.stop_ids = jnp.array([-1], jnp.int32)
    return engine


def rollouts(task: Task, turns: Turns) -> None:
    """All prompts with answers of the given lengths, temperature 1."""
    from solon.generate.engine import Request

    data = made(task)
    engine = engine_for(task, task["sizes"]["slots"], "batches")

    def work(number: int) -> dict[str, Any]:
        lengths = [min(n, 2) for n in data["answers"]] if number == 0 else data["answers"]
        lengths[data["prompts"].index(max(data["prompts"], key=len))] = max(data["answers"])  # the same shapes in the warm-up
        requests = [Request(ids, key=("bench", i), max_tokens=n) for i, (ids, n) in enumerate(zip(data["prompts"], lengths))]
        replies = engine.sample(requests, seed=number)
        return {"tokens": sum(len(reply.tokens) for reply in replies)}

    turns.rounds(task["rounds"], work)
    turns.end()


def _decode(task: Task, turns: Turns, batch: int, kind: str = "") -> None:
    """Seconds of the tokens after the first: a run of all tokens less a run of one."""
    import time

    from solon.core.quantise import size
    from solon.generate.engine import Request

    prompts, new = made(task)["fixed"][:batch], task["sizes"]["new"]
    engine = engine_for(task, batch, "sampling" if batch == 1 else "batches", kind)

    def timed(count: int) -> float:
        begin = time.perf_counter()
        engine.sample([Request(ids, max_tokens=count, temperature=0.0) for ids in prompts])
        return time.perf_counter() - begin

    def work(number: int) -> dict[str, Any]:
        return {"prefill": (prefill := timed(1)), "seconds": timed(new) - prefill, "tokens": batch * (new - 1)}

    turns.rounds(task["rounds"], work)
    turns.end(weights=size(engine.alone if batch == 1 else engine.unrolled))


def decode_many(task: Task, turns: Turns) -> None:
    _decode(task, turns, task["sizes"]["batch"])


def decode_one(task: Task, turns: Turns) -> None:
    _decode(task, turns, 1, os.environ.get("BENCH_WEIGHTS", ""))


def ceilings(task: Task, turns: Turns) -> None:
    """Matrix rates of XLA with a float32 result, GF/s, and what memory gives to a plain sum, GB/s."""
    import time

    import jax
    import jax.numpy as jnp

    side = task["sizes"]["ceiling"]

    def best(run: Any, *given: Any) -> float:
        run(*given).block_until_ready()
        seen = []
        for _ in range(5):
            begin = time.perf_counter()
            run(*given).block_until_ready()
            seen.append(time.perf_counter() - begin)
        return min(seen)

    product = jax.jit(lambda x, y: jax.lax.dot(x, y, preferred_element_type=jnp.float32))
    many = jnp.ones(side * side * 16, jnp.float32)

    def work(number: int) -> dict[str, Any]:
        rates = {}
        for name in ("bfloat16", "float32"):
            x = jax.random.normal(jax.random.key(0), (side, side)).astype(name)
            rates[name] = 2 * side**3 / best(product, x, x) / 1e9
        return {**rates, "bandwidth": many.nbytes / best(jax.jit(jnp.sum), many) / 1e9}

    turns.rounds(task["rounds"], work)
    turns.end()


def made(task: Task) -> Task:
    return json.loads(Path(task["data"]).read_text())


ROWS = {"sft": sft, "dpo": dpo, "grpo": grpo, "first": first, "rollouts": rollouts, "decode32": decode_many, "decode1": decode_one,
        "ceilings": ceilings, "prepare": prepare}  # fmt: skip

if __name__ == "__main__":
    ROWS[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()), Turns())
