"""`solon compress` on a tiny model: every form, its bytes by count, its figures by NumPy, and going on after a stop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from solon.core.artifacts import Store
from solon.core.config import build
from solon.core.dense import merged
from solon.core.prune import prune
from solon.core.quantise import size
from solon.core.weights import count, is_weight, named
from solon.generate.score import row_logprobs
from solon.models.architecture import spec
from solon.models.block import jit_forward
from solon.models.load import load
from solon.stages import compress
from solon.stages._compress_figures import figures
from solon.stages._compress_forms import FORMS, broken_zeros, file_bytes, running, settled, shallow, zeros
from solon.stages._compress_measures import cut
from solon.stages.evaluate import plain

pytestmark = pytest.mark.slow  # compiles programs for every form and point


@pytest.fixture(scope="module")
def config(world) -> compress.Compress:
    mend = {"rank": 2, "learning_rate": 1e-2, "batch": 4, "micro": 4, "length": 256, "steps": 4}
    return build(compress.Compress, {"data": world, "mend": mend, "rounds": 1, "tokens": 2, "multiple_choice": 6, "helpful": 4}, "test")


@pytest.fixture(scope="module")
def made(tmp_path_factory, model_folder, config):
    """The whole table, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SOLON_DATA", raising=False)
        store = Store(tmp_path_factory.mktemp("runs"))
        yield store, compress.report(store, config, str(model_folder), list(FORMS))


@pytest.fixture(scope="module")
def table(made) -> dict[str, Any]:
    return {row["form"]: row for row in made[1].read("table.json")}


@pytest.fixture(scope="module")
def model(model_folder):
    return load(str(model_folder))


def matrices(model: Any) -> tuple[int, int, int]:
    """Numbers in the layers' matrices, in the table of words, and in vectors."""
    weights = named(spec(model.arch), is_leaf=is_weight)
    numbers = {name: int(np.prod(w.shape(model.arch.sizes))) for name, w in weights.items()}
    inner = sum(n for name, n in numbers.items() if weights[name].ins and weights[name].stacked)
    table = numbers["embed"]
    return inner, table, sum(numbers.values()) - inner - table


def test_bytes_are_counted(table, model) -> None:
    inner, words, rest = matrices(model)
    whole = 4 * (inner + words + rest)
    assert table["float32"]["bytes"] == table["float32"]["file_bytes"] == whole == size(model.params)
    assert table["bf16"]["bytes"] == 2 * (inner + words) + 4 * rest
    assert table["int8"]["bytes"] == table["int8"]["file_bytes"] < 0.35 * whole
    assert table["int4"]["bytes"] <= table["int4+int8"]["bytes"] < table["int8"]["bytes"]  # equal here: rows of 32 fill half a block
    assert table["pruned"]["bytes"] == table["2:4"]["bytes"] == whole  # in memory the zeros are there
    assert table["pruned"]["file_bytes"] == table["2:4"]["file_bytes"] == 2 * inner + inner // 8 + 4 * (words + rest)
    for name in ("pruned", "2:4", "pruned+sft", "2:4+sft"):
        assert table[name]["zeros"] == pytest.approx(0.5, abs=1e-3)
    assert table["float32"]["zeros"] == 0 and table["shallow"]["parameters"] < table["float32"]["parameters"]


def test_a_product_has_the_numbers_of_its_halves(table, model) -> None:
    inner, words, rest = matrices(model)
    for name, most in (("low-rank", 0.5), ("low-rank+distill", 0.5 + 2 * 0.35)):  # mended by a LoRA of rank 2, which stays beside
        thin = table[name]["parameters"] - words - rest
        assert 0.3 * inner < thin <= most * inner and table[name]["bytes"] == table[name]["file_bytes"] == 4 * table[name]["parameters"]
    assert table["low-rank"]["parameters"] < table["low-rank+distill"]["parameters"]
    assert table["low-rank"]["figures"]["passage kl"]["value"] > 1e-4


def test_zeros_survive_the_fine_tuning_and_it_learns(table, made) -> None:
    for name in ("pruned+sft", "2:4+sft"):
        assert table[name]["broken_zeros"] == 0
    for name in ("tuned", "pruned+sft", "2:4+sft", "shallow+distill"):
        # A few steps of distillation are read on other batches first and last; that it learns is shown in test_distill.py.
        assert name == "shallow+distill" or table[name]["mended"]["last"] < table[name]["mended"]["first"], name
        before, _, after = name.partition("+")
        change = table[name]["figures"]["reference_loss"]["value"] - table[before if after else "float32"]["figures"]["reference_loss"]["value"]
        assert change != 0
        assert (made[0].root / "artifacts" / table[name]["artifact"] / "adapter.safetensors").exists()


def test_broken_zeros_are_seen(model) -> None:
    before = prune(spec(model.arch), model.params, 0.5)
    after = settled(before)
    assert broken_zeros(before, after) == 0
    after["blocks"]["q"] = after["blocks"]["q"] + 1.0
    assert broken_zeros(before, after) == int((~np.asarray(before["blocks"]["q"].mask)).sum())


def test_the_original_is_no_further_from_itself_than_rounding(table) -> None:
    kl = table["float32"]["figures"]["passage kl"]
    assert abs(kl["value"]) < 1e-6 and table["float32"]["changes"] == {}
    assert table["pruned"]["figures"]["passage kl"]["value"] > 1e-4
    order = [table[name]["figures"]["passage kl"]["value"] for name in ("bf16", "int8", "int4", "pruned")]
    assert order == sorted(order)


def test_figures_are_those_of_the_plain_forward(made, table, model, world) -> None:
    """Perplexity and divergence once more, from the logits of unpadded rows in NumPy."""
    form = FORMS["int4"].make(model)
    rows = [json.loads(line) for line in Path(world["passages"]).read_text().splitlines()]
    nats = kl = tokens = 0.0
    for row in rows:
        ids = model.tokenizer.encode(row["text"], special=False)
        ids = [model.tokenizer.bos, *ids] if model.tokenizer.add_bos else ids
        p, q = (np.asarray(jax.nn.log_softmax(jit_forward(m.arch, m.params, np.array([ids]))[0][0]), np.float64)[:-1] for m in (model, form))
        nats -= q[np.arange(len(q)), ids[1:]].sum()
        kl += (np.exp(p) * (p - q)).sum()
        tokens += len(q)
    got = table["int4"]["figures"]
    np.testing.assert_allclose(got["passage perplexity"]["value"], np.exp(nats / tokens), rtol=1e-4)
    np.testing.assert_allclose(got["passage kl"]["value"], kl / tokens, rtol=1e-3, atol=1e-7)
    assert got["passage perplexity"]["n"] == len(rows) and got["passage perplexity"]["tokens"] == tokens
    logp = row_logprobs(form, [plain(form, "", row["text"]) for row in rows])
    np.testing.assert_allclose(-sum(x.sum() for x in logp), nats, rtol=1e-4)


def test_changes_are_paired_and_corrected() -> None:
    """Known columns: the form doubles every -log p, so the ratio is exact whatever the passage; two questions flip."""
    rng = np.random.default_rng(0)
    base = [{"kind": "passage", "nats": float(x), "kl": 0.0, "tokens": 10} for x in rng.uniform(10, 30, 12)]
    base += [{"kind": "multiple_choice", "right": i % 2 == 0} for i in range(20)] + [{"kind": "reference", "loss": 2.0 + i / 10} for i in range(8)]
    other = [{**row, "nats": row["nats"] + 10.0, "kl": 3.0} if row["kind"] == "passage" else row for row in base]
    other = [{**row, "right": False} if row["kind"] == "multiple_choice" and i in (12, 14) else row for i, row in enumerate(other)]
    rows = figures({"float32": ({}, [], base), "int8": ({}, [], other)})
    change = rows[1]["changes"]
    np.testing.assert_allclose([change["passage perplexity"]["value"], *change["passage perplexity"]["ci"]], np.e, rtol=1e-9)
    assert change["multiple_choice"]["value"] == pytest.approx(-0.1) and change["reference_loss"]["p"] == 1
    assert change["passage perplexity"]["p"] == pytest.approx(2 / 2**12) and change["passage perplexity"]["p_holm"] == pytest.approx(3 * 2 / 2**12)
    assert rows[1]["figures"]["passage kl"]["value"] == pytest.approx(0.3)


def test_speed_is_taken_beside_the_original(table) -> None:
    for row in table.values():
        assert [one["batch"] for one in row["speed"]] == [1, 8]
        assert all(one["tokens_per_second"] > 0 and one["original"] > 0 and one["rounds"] == 1 for one in row["speed"])
        assert all(one["ratio"] == pytest.approx(one["tokens_per_second"] / one["original"]) for one in row["speed"])


def test_a_stopped_report_goes_on_and_comes_to_the_same_rows(tmp_path, made, table, model_folder, config, monkeypatch) -> None:
    monkeypatch.delenv("SOLON_DATA", raising=False)
    store, forms = Store(tmp_path), ["float32", "int8", "pruned+sft"]
    seen: list[str] = []
    build_ = compress._build

    def dying(subject: Any, form: Any, draft: Any) -> None:
        if form is FORMS["pruned+sft"] and len(seen) < 3:
            seen.append("died")
            raise KeyboardInterrupt
        seen.append(form.what)
        build_(subject, form, draft)

    monkeypatch.setattr(compress, "_build", dying)
    with pytest.raises(KeyboardInterrupt):
        compress.report(store, config, str(model_folder), forms)
    again = compress.report(store, config, str(model_folder), forms)
    assert seen == [FORMS["float32"].what, FORMS["int8"].what, "died", FORMS["pruned+sft"].what]
    for row in again.read("table.json"):
        assert row["figures"] == table[row["form"]]["figures"], row["form"]
        assert row["artifact"] == table[row["form"]]["artifact"]
    assert compress.report(store, config, str(model_folder), forms).reused


def test_shallow_keeps_the_first_and_the_last_layer(model) -> None:
    deep = replace(model, arch=replace(model.arch, layers=6, local_layers=(True, False, True, True, False, False)))
    stacked = jax.tree.map(lambda x: np.arange(6).reshape(6, *(1,) * (x.ndim - 1)) + np.zeros((1, *x.shape[1:])), model.params["blocks"])
    cut_ = shallow(replace(deep, params={**model.params, "blocks": stacked}))
    assert cut_.arch.layers == 4 and cut_.arch.local_layers == (True, True, True, False)
    assert np.asarray(cut_.params["blocks"]["q"])[:, 0, 0, 0].tolist() == [0, 2, 3, 5]
    assert count(spec(cut_.arch), cut_.arch.sizes) == sum(x.size for x in jax.tree.leaves(cut_.params))


def test_a_form_runs_as_arrays_where_nothing_skips_its_zeros(model) -> None:
    form = FORMS["pruned"].make(model)
    assert file_bytes(form.params) < size(running(form).params) == size(model.params)
    assert zeros(running(form)) == zeros(form)
    jax.tree.map(np.testing.assert_array_equal, running(form).params["blocks"]["q"], merged(form.params["blocks"]["q"]))


def test_a_passage_is_cut_after_a_whole_word() -> None:
    from solon.core.records import Passage

    one = Passage("p", "one two three four")
    assert cut(one, 12).text == "one two" and cut(one, 100) is one


def test_the_command(solon, made, tmp_path, model_folder, monkeypatch) -> None:
    store, artifact = made
    monkeypatch.setattr(compress, "report", lambda place, config, model, forms: artifact)
    shown = solon("compress", model_folder, "--report")
    assert shown.code == 0 and "int4+int8" in shown.out and "load of the machine" in shown.out and artifact.id in shown.out
    seen = []
    monkeypatch.setattr(compress, "report", lambda place, config, model, forms: seen.append(config) or artifact)
    told = json.loads(solon("compress", model_folder, "mend.steps=3", "helpful=5", "--report", "--json").out)
    assert (seen[0].mend.steps, seen[0].helpful, seen[0].passages) == (3, 5, compress.Compress().passages)
    assert [row["form"] for row in told["rows"]] == list(FORMS)
    refused = solon("compress", model_folder)
    assert refused.code == 2 and "--report" in refused.err
    wrong = solon("compress", model_folder, "--report", "--forms", "int9")
    assert wrong.code == 2 and "int8" in wrong.err and "Traceback" not in wrong.err
