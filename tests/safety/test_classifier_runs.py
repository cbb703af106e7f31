"""The safety classifier on a language model's own states, watched while text is written, and made by its stage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

from solon.core.artifacts import Store
from solon.core.errors import ConfigError, DataError, ModelError
from solon.core.records import conversation
from solon.core.taps import Taps
from solon.learn import lora
from solon.models.block import forward
from solon.models.encoders import minilm
from solon.safety import head as heads
from solon.safety import measure
from solon.safety.classifier import Classifier
from solon.safety.head import HARM, OUTPUTS, Head
from solon.safety.readers import ModelReader
from solon.safety.replies import ReplyHead
from solon.safety.stream import Smoothed, Watcher
from solon.safety.taxonomy import HARMLESS, Known
from solon.safety.texts import Reply, Text
from solon.stages import _safety_texts, models, safety
from solon.stages.runs import Run


def probe(model: Any, layer: int = 0) -> Head:
    """A random head for a model's states."""
    rng, width, ones = np.random.default_rng(0), model.arch.embed, np.ones(len(OUTPUTS), np.float32)
    facts = {"reader": model.name, "digest": model.digest, "settings": {"layer": layer, "windows": 8}}
    weight = rng.normal(size=(len(OUTPUTS), width)).astype(np.float32)
    flat = np.zeros(width, np.float32)
    return Head(weight, ones / 3, flat + 0.1, flat + 0.5, ones * 2, ones / 2, facts)


def test_the_reader_gives_the_forwards_own_states(tiny_model: Any) -> None:
    ids = tiny_model.tokenizer.encode("the water in the well")
    reader = ModelReader(tiny_model, 0)
    wide = np.array([ids], np.int32)
    seen = forward(tiny_model.arch, tiny_model.params, jnp.asarray(wide), Taps(keep=frozenset({"resid_post"})))[1]
    np.testing.assert_allclose(reader.tokens(ids), np.asarray(seen["resid_post"])[0, 0], atol=1e-5)
    read = reader.read("the water in the well")
    np.testing.assert_allclose(read.features[0], reader.tokens(ids).mean(0), atol=1e-6)
    assert not read.truncated and reader.read("").features.shape == (1, 32)
    with pytest.raises(ConfigError, match="layer"):
        ModelReader(tiny_model, 2)


def test_watching_equals_reading_at_every_token(tiny_model: Any) -> None:
    """Token by token with a cache gives the moving average of what one whole reading gives; later tokens change nothing."""
    head, ids = probe(tiny_model), (tiny_model.tokenizer.encode("the rain in the town ") * 20)[:90]
    z = head.logits(ModelReader(tiny_model, 0).tokens(ids)) / head.temperature
    keep = 0.5 ** (1 / 5.0)
    watcher = Watcher(tiny_model, head, half_life=5)
    got = [watcher.feed([id]) for id in ids]
    for t in (0, 1, 30, 70, 89):
        weights = keep ** np.arange(t, -1, -1)
        want = 1 / (1 + np.exp(-(weights @ z[: t + 1, HARM]) / weights.sum()))
        assert got[t] == pytest.approx(want, abs=2e-4)
    at_once = Watcher(tiny_model, head, half_life=5)
    assert at_once.feed(ids[:40]) == got[39] and at_once.feed(ids[40:]) == got[-1]
    assert np.std(got) > 1e-3


def test_a_short_memory_forgets_and_a_long_one_does_not(tiny_model: Any) -> None:
    head = probe(tiny_model)
    rows = np.random.default_rng(1).normal(size=(50, 32))
    short, long = Smoothed(head, 0.01), Smoothed(head, 1e9)
    for row in rows:
        last, whole = short.update(row), long.update(row)
    np.testing.assert_allclose(last, head.probabilities(head.logits(rows[-1:]))[0], atol=1e-9)
    mean = head.logits(rows).mean(0, keepdims=True)
    np.testing.assert_allclose(whole, head.probabilities(mean)[0], atol=1e-6)
    np.testing.assert_allclose(mean, head.logits(rows.mean(0, keepdims=True)), atol=1e-9)  # linear: of the mean, or the mean of
    with pytest.raises(ConfigError, match="half-life"):
        Smoothed(head, 0)


def test_a_watcher_refuses_what_it_cannot_read(tiny_model: Any) -> None:
    with pytest.raises(ModelError, match="another model"):
        Watcher(tiny_model, replace(probe(tiny_model), facts={"digest": "no", "settings": {"layer": 0}}))
    with pytest.raises(DataError, match="nothing to read"):
        Watcher(tiny_model, probe(tiny_model)).feed([])
    short = replace(tiny_model, arch=replace(tiny_model.arch, context=3))
    watcher = Watcher(short, probe(short))
    watcher.feed([5, 6, 7])
    with pytest.raises(DataError, match="context"):
        watcher.feed([8])


# The stage

FILES = {"own.npz", "own-replies.npz", "own.json", "own.md", "own-reliability.svg", "own-precision-recall.svg"}


def invented(source: str, side: str) -> list[Text]:
    """Texts of one word that decides everything, in the places of the real sources."""
    words = ("bomb", "idiot", "poison") if source != "benign" else ("cake", "river", "house")
    out = []
    for i in range(24):
        bad = i % 2 == 0 and source != "benign"
        known = Known(dict.fromkeys(heads.CATEGORIES, True), (3, 3)) if bad else HARMLESS
        text = f"{words[i % 3] if bad else 'calm'} {source} {side} {i}"
        out.append(Text(source, text, str(bad), known, f"{side} {i}", "some" if source == "madlibs" else ""))
    return out


def invented_replies(side: str) -> list[Reply]:
    """Requests granted and refused, and pairs of which only the order is known."""
    out = []
    for i in range(12):
        asked, family = f"{'bomb' if i % 2 else 'calm'} {side} {i}", f"{side} {i}"
        out.append(Reply("labelled_pairs", asked, f"sure {i}", i % 2 == 1, True, family))
        out.append(Reply("labelled_pairs", asked, f"sorry {i}", False, False, family))
        out += [] if side == "validation" else [Reply("hh_harmless", asked, f"sorry {i}", None, None, family, worse=f"sure {i}")]
    return out


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invented texts and replies in place of the labelled ones."""
    monkeypatch.setattr(_safety_texts, "texts", invented)
    monkeypatch.setattr(_safety_texts, "replies", invented_replies)
    monkeypatch.setattr(_safety_texts, "xstest_replies", lambda: invented_replies("validation"))
    monkeypatch.setattr(_safety_texts, "licence", lambda source: "none: invented")
    monkeypatch.setattr(heads, "STRENGTHS", (1e-2,))
    monkeypatch.setattr(measure, "RESAMPLES", 20)


@pytest.fixture
def small(texts: None, monkeypatch: pytest.MonkeyPatch, tiny_model: Any) -> None:
    """The stage on invented texts and the tiny model."""
    monkeypatch.setattr(safety, "reader", lambda config, store: ModelReader(tiny_model, 0))
    monkeypatch.setattr(safety, "read_by", lambda config, store: "tiny@0")


@pytest.mark.slow
def test_training_gives_the_same_bytes_again_and_a_whole_card(small: None, tmp_path: Path, tiny_model: Any) -> None:
    made = [safety.train(safety.Training(encoder="tiny"), Store(tmp_path / name)) for name in ("a", "b")]
    assert made[0].id == made[1].id
    files = [{p.name: p.read_bytes() for p in one.path.iterdir() if p.name != "evidence.json"} for one in made]
    assert files[0] == files[1] and set(files[0]) == FILES
    page = files[0]["own.md"].decode()
    assert all(f"({name})" in page for name in FILES if name.endswith(".svg")) and b"</svg>" in files[0]["own-reliability.svg"]
    card = json.loads(files[0]["own.json"])
    assert card["data"]["surge"] == {"licence": "none: invented", "train": 24, "validation": 24, "test": 24}
    assert card["labels"]["weapons"] == {"yes": 108, "no": 132}
    assert {row["set"] for row in card["figures"]} == {*safety._safety_figures.SETS, "labelled_pairs", "xstest_answers", "hh_harmless"}
    assert all(row["n"] > 0 for row in card["figures"])
    assert made[0].evidence["data"]["kept"] == 240 and made[0].evidence["metrics"]
    head = Head.from_bytes(files[0]["own.npz"])
    replies = ReplyHead.from_bytes(files[0]["own-replies.npz"])
    again = safety.evaluate(Classifier(ModelReader(tiny_model, 0), head, replies, card["id"]), Store(tmp_path / "a"))
    got = {(r["set"], r["slice"], r["figure"]): r["value"] for r in again.read("figures.json")}
    for row in card["figures"]:
        assert got[row["set"], row["slice"], row["figure"]] == pytest.approx(row["value"], abs=1e-6)


# On the models of runs


def adapted(store: Store, model: Any, seed: int) -> str:
    """The id of an artifact that holds an adapter of noise."""

    def build(draft: Any) -> None:
        fresh = lora.adapter(lora.attach(model.arch, model.params, rank=2, alpha=8.0, targets=("q", "down"), seed=seed))
        rng = np.random.default_rng(seed)
        noise = jax.tree.map(lambda x: np.asarray(rng.normal(0, 0.5, x.shape), np.float32), fresh)
        lora.save(draft.path, noise, {"rank": 2, "alpha": 8.0, "targets": ["q", "down"]})

    return store.make("dpo", 1, {"seed": seed}, {"model": "tiny@0"}, build).id


def finished(store: Store, name: str, aligned: str) -> None:
    """A run whose aligned model is this artifact."""
    Run(name, str(store.root / name), {"model": "tiny"}, "book", "2026-01-01", f"2026-01-01 {name}", {"aligned": aligned}).save()


def test_a_head_follows_the_weights_it_is_trained_on(texts: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`latest:aligned` after another run is another head, and so is MiniLM with other weights."""
    store = Store(tmp_path)
    monkeypatch.setattr(safety, "_train", lambda config, store, draft: None)
    made = []
    for name in ("a", "b"):
        finished(store, name, f"dpo-{name}")
        monkeypatch.setattr(minilm, "load", lambda name=name: SimpleNamespace(digest=64 * name))
        made += [safety.train(safety.Training(encoder=one), store) for one in ("latest:aligned", "minilm")]
    assert len({one.id for one in made}) == 4
    assert [one.evidence["inputs"]["encoder"] for one in made] == ["dpo-a", f"minilm@{16 * 'a'}", "dpo-b", f"minilm@{16 * 'b'}"]
    assert safety.train(safety.Training(encoder="latest:aligned"), store).reused
    monkeypatch.setattr(_safety_texts, "replies", lambda side: invented_replies(side)[1:])
    assert not safety.train(safety.Training(encoder="latest:aligned"), store).reused


def test_a_head_is_for_the_weights_with_their_adapters(monkeypatch: pytest.MonkeyPatch, tiny_model: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(models, "base", lambda *how: tiny_model)
    store = Store(tmp_path)
    plain, *two = [models.ready(tiny_model), *(models.adapted(store.get(adapted(store, tiny_model, seed))) for seed in (1, 2))]
    assert plain.fingerprint == plain.digest == two[0].digest and len({one.fingerprint for one in (plain, *two)}) == 3
    assert replace(two[0], params=None).fingerprint == two[0].fingerprint, "what was merged is still what it was"
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter.safetensors").write_bytes((tmp_path / "artifacts" / two[0].name / "adapter.safetensors").read_bytes())
    (folder / models.BASE).write_text(json.dumps({"base": "tiny", "digest": tiny_model.digest}))
    assert models.from_folder(folder).fingerprint == two[0].fingerprint
    for fitted_on, other in ((plain, two[0]), (two[0], plain), (two[0], two[1])):
        head = probe(fitted_on)
        head = replace(head, facts={**head.facts, "digest": ModelReader(fitted_on, 0).digest})
        assert Classifier(ModelReader(fitted_on, 0), head).head is head and Watcher(fitted_on, head)
        with pytest.raises(ModelError, match="another reader"):
            Classifier(ModelReader(other, 0), head)
        with pytest.raises(ModelError, match="another model"):
            Watcher(other, head)


def test_a_head_on_a_runs_model_is_opened_again(texts: None, monkeypatch: pytest.MonkeyPatch, tiny_model: Any, tmp_path: Path) -> None:
    from solon.cli.program import app

    monkeypatch.setattr(models, "base", lambda *how: tiny_model)
    monkeypatch.setattr(safety, "figures", lambda *of: ([], {}))
    monkeypatch.setattr(_safety_texts, "sources", lambda: ("red_team", "benign"))
    store = Store(tmp_path)
    finished(store, "some", adapted(store, tiny_model, 1))
    place = ["--runs", str(tmp_path)]
    card = tmp_path / "heads" / "own.json"
    made = CliRunner().invoke(app, ["safety", "train", "--encoder", "some:aligned", "--out", str(card.parent), *place, "--json"])
    assert made.exit_code == 0, made.output
    scored = CliRunner().invoke(app, ["safety", "score", "calm", "--head", str(card), *place, "--json"])
    (row,) = json.loads(scored.stdout)
    assert row["card"] == json.loads(made.stdout)["card"] and 0 < row["harm"] < 1
    assert CliRunner().invoke(app, ["safety", "eval", "--head", str(card), *place, "--json"]).exit_code == 0
    (reply,) = safety.opened(str(card), store).score([conversation(("user", "bomb"), ("assistant", "sure"))])
    assert 0 < reply.harm < 1


# The command


def test_commands(monkeypatch: pytest.MonkeyPatch, tiny_model: Any, small: None, tmp_path: Path) -> None:
    from solon.cli.program import app
    from solon.safety import classifier

    own = Classifier(ModelReader(tiny_model, 0), probe(tiny_model), card="test")
    load = classifier.load
    monkeypatch.setattr(classifier, "load", lambda name, find=None: own if name == "minilm" else load(name, find))
    runner = CliRunner()
    out = runner.invoke(app, ["safety", "score", "--json", "some text", "another"])
    rows = json.loads(out.stdout)
    assert [row["text"] for row in rows] == ["some text", "another"] and rows[0]["card"] == "test"
    piped = runner.invoke(app, ["safety", "score", "--json", "-"], input="some text\nanother\n")
    assert json.loads(piped.stdout) == rows
    assert "some text" in runner.invoke(app, ["safety", "score", "some text"]).stdout
    wrong = runner.invoke(app, ["safety", "score", "x", "--head", "nothing"])
    assert wrong.exit_code == 2 and "there is no head" in wrong.stderr and "Traceback" not in wrong.stderr
    made = runner.invoke(app, ["safety", "train", "--encoder", "tiny", "--out", str(tmp_path / "heads"), "--runs", str(tmp_path), "--json"])
    assert json.loads(made.stdout)["card"].startswith("solon-safety-own-")
    assert {p.name for p in (tmp_path / "heads").iterdir()} == FILES
    assert runner.invoke(app, ["safety", "train", "--layers", "two"]).exit_code == 2
    for command in ("train", "eval", "score"):
        assert "Examples" in runner.invoke(app, ["safety", command, "--help"]).stdout
