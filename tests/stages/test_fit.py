"""Settings of a fine-tuning: old artifacts keep their ids, steps are counted as asked, and training ends early."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors import safe_open

from solon.core.artifacts import Artifact, Draft, Silent, Store
from solon.core.config import build
from solon.core.dense import LoRA, is_adapter
from solon.core.errors import ConfigError, DataError, StorageError, TrainingError
from solon.core.keys import rng
from solon.core.records import Demonstration, as_messages
from solon.core.weights import init, named
from solon.learn import lora, trainer
from solon.models.architecture import LINEAR, Architecture, spec
from solon.models.load import Model
from solon.stages import recipe, sft
from solon.stages.dpo import Dpo
from solon.stages.fit import Early, Fit, write_result
from solon.stages.gate import Gate, gate

RECIPES = Path(__file__).parents[2] / "recipes"
# The settings that existed before others were added, as artifacts were named by them.
FIRST = {
    "rank": 16, "alpha": 32.0, "dropout": 0.0, "targets": list(LINEAR), "learning_rate": 5e-4, "schedule": "cosine", "warmup": 0.05,
    "epochs": 2.0, "batch": 16, "micro": 16, "length": 512, "decay": 0.0,
}  # fmt: skip


def rows(count: int) -> list[dict[str, Any]]:
    """Conversations that a model of bytes can learn a little of."""
    said = lambda n: " ".join(rng("row", n).choice(["ba", "ko", "ri"], 4))  # noqa: E731
    return [
        {"id": f"row-{n}", "messages": [{"role": "user", "content": said(n)}, {"role": "assistant", "content": said(n + 1)}]}
        for n in range(count)
    ]


def test_what_was_added_later_does_not_change_the_names_of_artifacts() -> None:
    assert Fit().model_dump(mode="json") == FIRST
    assert Dpo().model_dump(mode="json") == {**FIRST, "learning_rate": 2e-4, "beta": 0.1, "margin": 0.05}
    assert set(Dpo.model_fields) == set(FIRST) | Fit.LATER | {"beta", "margin"}
    said = {"kind": "full", "steps": 7, "warmup_steps": 2, "betas": [0.8, 0.9], "clip": 0.5, "early": {"patience": 2}}
    dumped = build(Fit, said, "test").model_dump(mode="json")
    assert {name: dumped[name] for name in said} == said | {"early": Early(patience=2).model_dump()}
    assert build(Fit, dumped, "test") == build(Fit, said, "test")


def test_the_optimiser_gets_what_the_settings_say(tiny_model: Model) -> None:
    config = Fit(steps=40, warmup_steps=10, betas=(0.8, 0.99), clip=0.5, decay=0.01, learning_rate=1e-3, batch=2, micro=2, length=128)
    plan = sft.course(config, tiny_model, rows(4), seed=1).plan
    assert plan == trainer.Plan(steps=40, learning_rate=1e-3, seed=1, warmup=10, clip=0.5, decay=0.01, betas=(0.8, 0.99))
    rates = trainer.learning_rates(plan)
    np.testing.assert_allclose([rates(0), rates(5), rates(10), rates(40)], [0, 5e-4, 1e-3, 1e-4], atol=1e-9)


@pytest.mark.parametrize(("steps", "batch", "micro"), [(1, 2, 2), (5, 4, 2), (12, 2, 2), (40, 4, 4)])
def test_steps_count_instead_of_epochs(tiny_model: Model, steps: int, batch: int, micro: int) -> None:
    course = sft.course(Fit(steps=steps, batch=batch, micro=micro, length=128), tiny_model, rows(7), seed=1)
    assert course.steps == len(course.tokens) == steps
    assert len(course.batches(steps - 1)) == batch // micro
    seen = [int(one.weight_n.sum()) for step in range(steps) for one in course.batches(step)]
    assert min(seen) > 0


def test_rows_laid_aside_are_not_trained_on(tiny_model: Model) -> None:
    config = Fit(epochs=3, batch=2, micro=2, length=128, early=Early(patience=1, aside=0.3))
    course = sft.course(config, tiny_model, rows(10), seed=1)
    ends = lambda packed: {tuple(packed.tokens_bt[packed.segments_bt == s]) for s in np.unique(packed.segments_bt) if s}  # noqa: E731
    texts = lambda many: {row for one in many for line in range(len(one.tokens_bt)) for row in ends(replaced(one, line))}  # noqa: E731
    trained = texts(one for step in range(course.steps) for one in course.batches(step))
    aside = texts(course.aside)
    assert len(aside) == 3 and len(trained) == 7 and not aside & trained
    assert sft.course(replace_early(config, patience=0), tiny_model, rows(10), seed=1).aside == []
    with pytest.raises(DataError, match="early stopping"):
        sft.course(config, tiny_model, rows(1), seed=1)


def replaced(one: Any, line: int) -> Any:
    """One line of a packed batch."""
    return one._replace(tokens_bt=one.tokens_bt[line], segments_bt=one.segments_bt[line])


def replace_early(config: Fit, **changes: Any) -> Fit:
    return config.model_copy(update={"early": config.early.model_copy(update=changes)})


def trained(place: Path, model: Model, config: Fit) -> Artifact:
    return sft.train(Store(place), "helpful", config, model, {"model": "tiny@0"}, rows(24), seed=1)


@pytest.mark.slow
def test_a_stage_ends_early_and_keeps_the_arrays_of_the_lowest_reading(tmp_path: Path, tiny_model: Model) -> None:
    """A learning rate far too high: the held-out loss rises from some point on."""
    config = Fit(rank=4, batch=8, micro=8, length=128, steps=40, schedule="constant", learning_rate=0.05, warmup=0.0,
                 early=Early(patience=3, every=1, aside=0.25))  # fmt: skip
    made = trained(tmp_path, tiny_model, config)
    readings, history = made.read("readings.json"), made.read("history.json")
    losses = [one["loss"] for one in readings]
    best = losses.index(min(losses))
    assert len(history) == len(losses) == best + 1 + 3 < 40
    assert made.evidence["cost"]["tokens"] == sum(sft.course(config, tiny_model, rows(24), seed=1).tokens[: len(history)])
    # What was kept is what training for just so many steps comes to, and its loss is the one that was read.
    course = sft.course(config, tiny_model, rows(24), seed=1)
    shorter = course.run(until=best + 1)
    kept = lora.load_onto(tiny_model.arch, tiny_model.params, made.path)
    jax.tree.map(np.testing.assert_array_equal, lora.adapter(kept, LINEAR), shorter.trained)
    total, items = 0.0, 0.0
    for one in course.aside:
        value, (count, _) = course.loss(kept, one)
        total, items = total + float(value), items + float(count)
    np.testing.assert_allclose(total / items, losses[best], rtol=1e-5)


def test_full_fine_tuning_is_a_stage_like_any_other(tmp_path: Path, tiny_model: Model) -> None:
    made = trained(tmp_path, tiny_model, build(Fit, {"kind": "full", "batch": 8, "micro": 8, "length": 128, "steps": 6, "learning_rate": 3e-3}, "test"))
    losses = [row["loss"] for row in made.read("history.json")]
    assert losses[-1] < losses[0] - 0.3
    back = lora.load_onto(tiny_model.arch, tiny_model.params, made.path)
    moved = {name for name, parts in lora.adapter(back).items() if float(np.abs(parts["w"] - named(tiny_model.params)[name]).max()) > 1e-4}
    assert moved == set(named(tiny_model.params))


def test_the_digest_is_that_of_the_file(tmp_path: Path, tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that changes one bit of the adapter on its way is noticed, and no stage is finished with it."""
    config = Fit(rank=2)
    result = trainer.Result(lora.adapter(config.attached(tiny_model, seed=1)))
    good, bad = (Draft(name, tmp_path / name, Silent()) for name in ("good", "bad"))
    for draft in (good, bad):
        draft.path.mkdir()
    write_result(good, config, result)
    with safe_open(good.path / "adapter.safetensors", framework="numpy") as f:
        sha = hashlib.sha256()
        for name in sorted(f.keys()):
            leaf, part = name.rsplit(".", 1)
            sha.update(f"['{leaf}']['{part}']".encode() + f.get_tensor(name).tobytes())
    assert good.facts["digest"] == sha.hexdigest()
    save = lora.save

    def damaged(folder: Path, *rest: Any) -> None:
        save(folder, *rest)
        path = folder / "adapter.safetensors"
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    monkeypatch.setattr(lora, "save", damaged)
    with pytest.raises(StorageError, match="not the one that was trained"):
        write_result(bad, config, result)


@pytest.mark.slow
def test_the_specification_runs_two_real_steps_at_reduced_width(tmp_path: Path, tiny_model: Model) -> None:
    """Gemma's switches, the recipe's own fine-tuning, all but the number of steps and the length of a line."""
    said = recipe.load(RECIPES / "gemma-7b-spec.yaml").helpful
    assert (said.rank, said.alpha, said.dropout, said.steps, said.warmup_steps) == (32, 64, 0.1, 2000, 500)
    arch = Architecture(
        "gemma", layers=2, embed=48, heads=4, kv_heads=4, head_dim=16, mlp=96, vocab=tiny_model.arch.vocab, context=512,
        norm_offset=1.0, activation="gelu_tanh", embed_scale=48**0.5,
    )  # fmt: skip
    gemma = replace(tiny_model, arch=arch, params=init(spec(arch), arch.sizes, seed=0))
    config = said.model_copy(update={"steps": 2, "warmup_steps": 1, "length": 128})
    made = trained(tmp_path, gemma, config)
    history = made.read("history.json")
    assert len(history) == 2 and all(np.isfinite(row["loss"]) for row in history)
    tokens = made.evidence["cost"]["tokens"]
    assert tokens / 2 > 100 * np.mean([row["tokens"] for row in made.rows("rows")])  # 128 rows a step, by micro-batches of 8
    back = lora.load_onto(arch, gemma.params, made.path)
    found = [leaf for leaf in jax.tree.leaves(back, is_leaf=is_adapter) if is_adapter(leaf)]
    assert len(found) == 7 and all(isinstance(leaf, LoRA) and leaf.a.shape[-1] == 32 and leaf.scale == 2 for leaf in found)
    assert float(np.abs(back["blocks"]["q"].b).max()) > 0


@pytest.mark.parametrize("name", ["quickstart", "real-data", "gemma-270m", "gemma-7b-spec"])
def test_the_recipes_are_valid(name: str) -> None:
    assert recipe.load(RECIPES / f"{name}.yaml").name == name
    with pytest.raises(ConfigError, match="patience"):
        recipe.load(RECIPES / f"{name}.yaml", ["helpful.early.patiense=3"])


def test_weights_of_rows_principles_and_tokens(tiny_model: Model) -> None:
    config = Fit(principle_weights={"p": 3.0}, token_weights={"a": 5.0}, length=128)
    assert [config.weight_of(row) for row in ({}, {"weight": 2}, {"principle": "p"}, {"weight": 2, "principle": "p"})] == [1, 2, 3, 6]
    weight_v = sft.by_token(config.token_weights, tiny_model)
    assert weight_v is not None and weight_v.sum() == tiny_model.arch.vocab + 4
    assert weight_v[tiny_model.tokenizer.encode("a")[0]] == 5
    with pytest.raises(ConfigError, match="'ba ko'"):
        sft.by_token({"ba ko": 2.0}, tiny_model)
    some = [{**row, "weight": 2.0} if place else row for place, row in enumerate(rows(2))]
    one = sft.course(Fit(length=128), tiny_model, some, seed=1).batches(0)[0]
    assert set(one.weight_n.tolist()) == {0.0, 1.0, 2.0}
    for wrong in ({"keep": 1.0}, {"token_weights": {"a": 2.0}}):
        with pytest.raises(ConfigError, match="supervised"):
            build(Dpo, wrong, "test")
    with pytest.raises(ConfigError, match="principle_weights"):
        build(Fit, {"principle_weights": {"p": 0}}, "test")


@pytest.mark.parametrize(("shift", "passes"), [(0.3, True), (0.0, False), (-0.3, False)])
def test_the_gate_lets_only_a_more_helpful_model_through(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float, passes: bool
) -> None:
    """Losses are given here; that they are those of the models is shown by the whole method's test."""
    store = Store(tmp_path)
    helpful = store.make("helpful", 1, {}, {}, lambda draft: draft.write("x.json", {}))
    unseen = tuple(Demonstration(row["id"], as_messages(row["messages"])) for row in rows(20))
    base = [2 + float(rng("base", n).normal(0, 0.5)) for n in range(20)]
    later = [loss - shift + float(rng("noise", n).normal(0, 0.1)) for n, loss in enumerate(base)]
    losses = iter([base, later, base, later])
    monkeypatch.setattr("solon.stages.gate.reference_loss", lambda *_: next(losses))
    monkeypatch.setattr("solon.stages.gate.adapted", lambda *_, **__: tiny_model)
    if passes:
        assert gate(store, Gate(), tiny_model, helpful, unseen).evidence["facts"] == {"passed": True}
        return
    with pytest.raises(TrainingError, match="no more helpful"):
        gate(store, Gate(), tiny_model, helpful, unseen)
    assert gate(store, Gate(below="go_on"), tiny_model, helpful, unseen).evidence["facts"] == {"passed": False}
