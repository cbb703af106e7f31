"""The least time that a row's work can take on this machine: its operations at the measured matrix rate, its bytes at the
measured bandwidth, whichever is longer. `facts` are those of `ours.facts`; a product of `m` rows with a matrix of `w` numbers is
2 m w operations. What an implementation does beyond that (recomputation, conversions, noise, attention over masked keys) is
its own affair and not in the bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RANK = 16
LOW_BYTES = 2  # of a weight in bfloat16, which both sides are free to use


def training(facts: Mapping[str, int], rows: int, length: int, scored: int, reference: bool) -> float:
    """Operations of one LoRA step: forward and the activations' gradients of every frozen matrix, the adapters' three
    products, causal attention (half of all pairs of places), and with `reference` one more forward."""
    tokens = rows * length
    frozen = 2 * facts["matrices"] * tokens + 2 * facts["table"] * scored
    attention = facts["layers"] * 2 * 2 * tokens * (length / 2) * facts["heads"]
    adapters = 2 * RANK * facts["adapter_width"] * tokens
    step = 2 * frozen + 3 * adapters + 3 * attention
    return step + (frozen + attention if reference else 0)


def decoding(facts: Mapping[str, int], ceilings: Mapping[str, float], batch: int, context: float, weights: float = 0) -> float:
    """Seconds a step of decoding: all weights and the cache are read once, and every row meets every weight."""
    numbers = facts["matrices"] + facts["table"]
    cache = LOW_BYTES * 2 * facts["layers"] * facts["kv"] * context * batch
    reading = ((weights or LOW_BYTES * numbers) + cache) / (ceilings["bandwidth"] * 1e9)
    attention = facts["layers"] * 2 * 2 * facts["heads"] * context
    return max(reading, batch * (2 * numbers + attention) / (ceilings["bfloat16"] * 1e9))


def least_seconds(name: str, task: Mapping[str, Any], data: Mapping[str, Any], ceilings: Mapping[str, float], weights: float) -> float:
    """Seconds of one round of a row at the bound; 0 where there is none."""
    facts, sizes = data["facts"], task["sizes"]
    rate = ceilings["bfloat16"] * 1e9
    if name == "sft":
        return training(facts, sizes["rows"], sizes["length"], sizes["rows"] * (sizes["length"] - 1), False) / rate
    if name == "dpo":
        scored = 2 * sizes["pairs"] * (sizes["length"] - sizes["length"] // 8)
        return training(facts, 2 * sizes["pairs"], sizes["length"], scored, True) / rate
    if name == "grpo":
        # Every prompt is read once, all its answers are drawn together, and one step learns the answers' tokens.
        replies, length = sizes["asked"] * sizes["group"], sizes["asked_length"] + sizes["rollout"]
        reading = 2 * facts["matrices"] * sizes["asked"] * sizes["asked_length"] / rate
        drawing = sizes["rollout"] * decoding(facts, ceilings, replies, sizes["asked_length"] + sizes["rollout"] / 2)
        return reading + drawing + training(facts, replies, length, replies * sizes["rollout"], False) / rate
    if name == "decode32":
        return (sizes["new"] - 1) * decoding(facts, ceilings, sizes["batch"], sizes["prompt"] + sizes["new"] / 2)
    if name == "decode1":
        return (sizes["new"] - 1) * decoding(facts, ceilings, 1, sizes["prompt"] + sizes["new"] / 2, weights)
    if name == "rollouts":
        prompts = sum(map(len, data["prompts"]))
        mean = sum(len(p) + n / 2 for p, n in zip(data["prompts"], data["answers"], strict=True)) / len(data["prompts"])
        steps = sum(data["answers"]) / sizes["slots"]
        return 2 * facts["matrices"] * prompts / rate + steps * decoding(facts, ceilings, sizes["slots"], mean)
    return 0.0
