"""What every training stage shares: attach an adapter, run the trainer with checkpoints in the draft, save the result."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np
from pydantic import Field

from solon.core.artifacts import Draft
from solon.core.config import Config
from solon.core.weights import Tree
from solon.learn import lora, trainer
from solon.models.architecture import LINEAR
from solon.models.load import Model


class Fit(Config):
    """How an adapter is trained. `batch` counts rows (or pairs) a step, `micro` how many of them are held at once."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] = LINEAR
    learning_rate: float = Field(5e-4, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)  # share of all steps
    epochs: float = Field(2.0, gt=0)
    batch: int = Field(16, ge=1)
    micro: int = Field(16, ge=1)
    length: int = Field(512, ge=16)
    decay: float = Field(0.0, ge=0)


def fit(
    draft: Draft, model: Model, config: Fit, seed: int, steps: int,
    loss: Callable[[Tree, Any], Any], batches: Callable[[int], Sequence[Any]], tokens: Sequence[int],
) -> trainer.Result:  # fmt: skip
    """Train a fresh adapter on top of `model` and write it, the history and its digest into the draft.

    `loss(params, batch)` sees the whole tree with its adapter; `batches(i)` gives the micro-batches of step `i`, which
    hold `tokens[i]` tokens.
    """
    arch = model.arch
    params = lora.attach(
        arch, model.params, rank=config.rank, alpha=config.alpha, seed=seed, dropout=config.dropout,
        targets=config.targets,
    )  # fmt: skip
    plan = trainer.Plan(
        steps=steps, learning_rate=config.learning_rate, seed=seed, warmup=round(config.warmup * steps),
        schedule=config.schedule, decay=config.decay,
    )  # fmt: skip

    def with_adapter(trained: Tree, frozen: Tree, batch: Any, key: jax.Array) -> Any:
        from solon.core.dense import with_dropout

        whole = lora.put(frozen, trained)
        return loss(with_dropout(whole, key) if config.dropout else whole, batch)

    draft.tokens += sum(tokens)
    with draft.progress.task("training", sum(tokens), "tok") as advance:
        result = trainer.train(
            with_adapter, lora.adapter(params), params, batches, plan, draft.path / ".checkpoints",
            report=lambda step, row: advance(tokens[step], f"loss {row['loss']:.3f}"),
        )  # fmt: skip
    saved = {"rank": config.rank, "alpha": config.alpha, "targets": list(config.targets)}
    lora.save(draft.path, result.trained, saved)
    draft.write("history.json", result.history)
    draft.facts["digest"] = digest(result.trained)
    return result


def digest(tree: Any) -> str:
    """SHA-256 over all arrays of a tree, names included."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        total.update(jax.tree_util.keystr(path).encode())
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()
