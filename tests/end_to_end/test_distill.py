"""`solon distill` on tiny models: at both levels, stopped and gone on with, against whole logits and the plain loss."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.constitution.clean import clean
from solon.core.artifacts import Store, file_digest
from solon.core.config import build
from solon.core.errors import ConfigError
from solon.core.records import as_messages
from solon.generate.engine import Engine, Request
from solon.learn import lora
from solon.models.block import jit_forward
from solon.models.load import load
from solon.stages import distill as stage
from solon.stages import fit, models, sft
from solon.stages.gather import gather
from solon.stages.recipe import Recipe
from solon.stages.sampling import whole
from solon.text.template import encode_chat, encode_training

TRAINED = {"rank": 4, "learning_rate": 2e-2, "batch": 4, "micro": 4, "length": 256, "steps": 12}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, model_folder) -> str:
    """The tiny model with an adapter of noise: another model of the same vocabulary."""
    folder, model = tmp_path_factory.mktemp("teacher"), load(str(model_folder))
    params, rng = lora.attach(model.arch, model.params, rank=2, alpha=8.0, seed=1), np.random.default_rng(1)
    trained = jax.tree.map(lambda x: np.asarray(rng.normal(0, 0.3, x.shape), np.float32), lora.adapter(params))
    lora.save(folder, trained, {"rank": 2, "alpha": 8.0, "targets": list(lora.LINEAR)})
    (folder / models.BASE).write_text(json.dumps({"base": str(model_folder), "digest": model.digest}))
    return str(folder)


@pytest.fixture(scope="module")
def settings(world):
    return lambda **more: build(stage.Distill, {"data": world, "fit": TRAINED, "draw": {"max_tokens": 12}, **more}, "test")


@pytest.fixture(scope="module")
def made(tmp_path_factory, settings, teacher, model_folder, read_in_float32):
    store = Store(tmp_path_factory.mktemp("runs"))
    return store, *stage.distill(store, settings(), teacher, str(model_folder))


@pytest.mark.slow
def test_the_student_comes_nearer_to_its_teacher(made, teacher, settings, model_folder) -> None:
    store, student, compared = made
    table = {row["figure"]: row for row in compared.read("table.json")}
    assert table["kl"]["change"]["ci"][1] < 0 and table["kl"]["after"]["value"] < 0.8 * table["kl"]["before"]["value"]
    assert table["kl"]["change"]["n"] == len(list(compared.rows("heldout"))) == 8
    history = student.read("history.json")
    assert len(history) == 12 and history[-1]["loss"] < history[0]["loss"] == pytest.approx(history[0]["kl"])
    again = stage.distill(store, settings(), teacher, str(model_folder))
    assert [one.id for one in again] == [student.id, compared.id] and all(one.reused for one in again)


@pytest.mark.slow
def test_the_figures_are_those_of_whole_logits(made, teacher, settings, model_folder) -> None:
    store, student, compared = made
    rows = {row["id"]: row for row in compared.rows("heldout")}
    held = gather(Recipe(name="x", model=str(model_folder), data=settings().data)).held.helpful
    named = {"teacher": teacher, "before": str(model_folder), "after": student.id}
    loaded = {name: models.resolve(one, store, "float32") for name, one in named.items()}
    for one in held[:3]:
        row = encode_training(loaded["after"].tokenizer, one.messages)
        learned = np.flatnonzero(row.learn)
        places, targets = learned - 1, np.asarray(row.ids)[learned]
        logp = {
            name: np.asarray(jax.nn.log_softmax(jit_forward(model.arch, model.params, jnp.asarray([row.ids]))[0][0]), np.float64)[places]
            for name, model in loaded.items()
        }
        for when in ("before", "after"):
            kl = (np.exp(logp["teacher"]) * (logp["teacher"] - logp[when])).sum(-1).mean()
            assert rows[one.id][f"kl {when}"] == pytest.approx(kl, rel=1e-3)
            assert rows[one.id][f"loss {when}"] == pytest.approx(-logp[when][np.arange(len(targets)), targets].mean(), rel=1e-4)
        assert rows[one.id]["tokens"] == len(learned)


@pytest.mark.slow
def test_a_share_of_hard_labels_is_that_of_the_plain_loss(teacher, model_folder, tmp_path) -> None:
    student, wise = (models.resolve(name, Store(tmp_path), "float32") for name in (str(model_folder), teacher))
    rows = [{"id": str(i), "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ba ko " * (i + 1)}]} for i in range(4)]
    plan = build(fit.Fit, {**TRAINED, "steps": 1, "early": {"patience": 1, "aside": 0.25}}, "test")
    plain = sft.course(plan, student, rows, 1)

    def score(course: Any, batch: Any) -> tuple[float, float]:
        total, (items, _) = jax.jit(course.loss)(student.params, batch)
        return float(items), float(total)

    hard, soft, mixed = (stage.taught(plain, wise, 2.0, share) for share in (1.0, 0.0, 0.25))
    assert len(hard.aside) == len(plain.aside) == 1
    for told, bare in ((hard.batches(0)[0], plain.batches(0)[0]), (hard.aside[0], plain.aside[0])):
        np.testing.assert_allclose(score(hard, told), score(plain, bare), rtol=1e-5)
        np.testing.assert_allclose(score(mixed, told)[1], 0.75 * score(soft, told)[1] + 0.25 * score(plain, bare)[1], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["logits", "sequences"])
def test_a_stopped_one_goes_on_and_comes_to_the_same_bytes(level, made, settings, teacher, model_folder, tmp_path, monkeypatch) -> None:
    config, store = settings(level=level), Store(tmp_path / "stopped")
    diary, seen = fit.Diary.__call__, []

    def dying(self: Any, done: int, trained: Any) -> None:
        diary(self, done, trained)
        seen.append(done)
        if done == 5 and seen.count(5) == 1:
            raise KeyboardInterrupt

    plan = fit.Course.plan.fget
    monkeypatch.setattr(fit.Course, "plan", property(lambda course: replace(plan(course), checkpoint_seconds=0.0)))
    monkeypatch.setattr(fit.Diary, "__call__", dying)
    with pytest.raises(KeyboardInterrupt):
        stage.distill(store, config, teacher, str(model_folder))
    student, compared = stage.distill(store, config, teacher, str(model_folder))
    undisturbed = made[1:] if level == "logits" else stage.distill(Store(tmp_path / "whole"), config, teacher, str(model_folder))
    assert [student.id, compared.id] == [one.id for one in undisturbed] and seen == [1, 2, 3, 4, 5, *range(5, 13), *seen[13:]]
    for name in ("adapter.safetensors", "rows.jsonl"):
        assert file_digest(student.path / name) == file_digest(undisturbed[0].path / name)
    assert compared.read("table.json") == undisturbed[1].read("table.json")


@pytest.mark.slow
def test_sequences_are_the_teachers_own_replies(settings, teacher, model_folder, tmp_path) -> None:
    store = Store(tmp_path)
    config = settings(level="sequences", samples=2, rows=6)
    student, compared = stage.distill(store, config, teacher, str(model_folder))
    replies = store.get(student.evidence["inputs"]["replies"])
    assert replies.evidence["inputs"] == {"model": models.source(teacher, store)}
    rows = list(replies.rows("rows"))
    assert len(rows) == 12 and [row["id"] for row in student.rows("rows")] == [row["id"] for row in rows if not row.get("dropped")]
    engine = Engine(models.resolve(teacher, store, work="batches"))
    asked = []
    for row in rows:
        id, number = row["id"].rsplit("/", 1)
        prompt = encode_chat(engine.tokenizer, as_messages(row["messages"])[:-1], True)
        asked.append(Request(prompt, ("answer", 1, id, int(number)), **config.draw.model_dump()))
    drawn = [clean(whole(reply), part="revision")[0] for reply in engine.sample(asked)]
    assert [row["messages"][-1]["content"] for row in rows] == drawn and len(set(drawn)) > 6
    assert models.resolve(student.id, store).name == student.id
    assert {row["figure"] for row in compared.read("table.json")} == {"loss", "kl"}
    further, _ = stage.distill(store, settings(rows=4), teacher, student.id)  # a student may have been taught before
    assert [one.id for one in models.adapters(further)] == [student.id, further.id]


@pytest.mark.slow
def test_a_teacher_with_another_vocabulary_gives_only_its_texts(made, settings, model_folder, tmp_path, monkeypatch) -> None:
    resolve = models.resolve

    def other(name: str, store: Any, *args: Any, **more: Any) -> Any:
        model = resolve(str(model_folder) if name == "other" else name, store, *args, **more)
        if name != "other":
            return model
        table = jnp.concatenate([model.params["embed"], jnp.zeros((3, model.arch.embed))])
        return replace(model, arch=replace(model.arch, vocab=model.arch.vocab + 3), params={**model.params, "embed": table})

    monkeypatch.setattr(models, "resolve", other)
    source = models.source
    monkeypatch.setattr(models, "source", lambda name, store: "other@1" if name == "other" else source(name, store))
    with pytest.raises(ConfigError, match=r"different vocabularies(.|\n)*level=sequences"):
        stage.distill(Store(tmp_path), settings(), "other", str(model_folder))
    _, compared = stage.distill(Store(tmp_path), settings(level="sequences"), "other", str(model_folder))
    assert [row["figure"] for row in compared.read("table.json")] == ["loss"]


@pytest.mark.slow
def test_the_command(solon, made, settings, teacher, model_folder, world) -> None:
    store, student, compared = made
    told = {f"{part}.{key}": value for part, values in (("data", world), ("fit", TRAINED)) for key, value in values.items()}
    words = [f"{key}={value}" for key, value in {**told, "draw.max_tokens": 12}.items() if key != "data.demonstrations"]
    words = ["distill", teacher, model_folder, *words, "--data", world["demonstrations"], "--runs", store.root]
    shown = solon(*words)
    assert shown.code == 0, shown.err
    assert f"solon chat {student.id}" in shown.out and "KL(teacher || student)" in shown.out and compared.id in shown.out
    result = json.loads(solon(*words, "--json").out)
    assert result["model"] == student.id and result["figures"] == compared.read("table.json")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("M", "M"), "the teacher is the student"), (("M", "T"), "adapters merge"), (("T", "M", "fit.keep=1"), "belong to the loss on texts"),
        (("T", "M", "level=sequences", "hard=0.5"), "share of the loss on logits"), (("T", "M", "level=words"), "level"), (("T", "M", "hard=2"), "hard"),
        (("T", "M", "--data", "nowhere.jsonl"), "nowhere.jsonl"), (("T", "nobody"), "nobody"),
    ],
)  # fmt: skip
def test_mistakes_are_one_screen(solon, teacher, model_folder, tmp_path, words, said) -> None:
    named = {"M": str(model_folder), "T": teacher}
    shown = solon("distill", *(named.get(word, word) for word in words), "--runs", tmp_path)
    assert shown.code == 2 and said in shown.err and "Traceback" not in shown.err
    assert not list(Path(tmp_path).glob("artifacts/*"))
