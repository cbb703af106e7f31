"""`solon eval` on a tiny model in a folder: tables, JSON, comparison, and one-screen mistakes."""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict

import numpy as np
import pytest


@pytest.fixture
def folder(tmp_path, tiny_model):
    """A function that writes a tiny model to a folder as Hugging Face has it."""
    from safetensors.numpy import save_file

    from solon.core.weights import init
    from solon.models.architecture import spec
    from solon.models.load import family, to_tensors

    def write(name, seed):
        arch, place = tiny_model.arch, tmp_path / name
        tiny_model.tokenizer.save(place)
        params = init(spec(arch), arch.sizes, seed=seed)
        tensors = to_tensors(arch, family("llama").names(arch), params)
        save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, str(place / "model.safetensors"))
        config = {
            "model_type": "llama", "hidden_size": arch.embed, "num_hidden_layers": arch.layers, "intermediate_size": arch.mlp,
            "num_attention_heads": arch.heads, "num_key_value_heads": arch.kv_heads, "head_dim": arch.head_dim,
            "vocab_size": arch.vocab, "max_position_embeddings": arch.context, "rms_norm_eps": arch.norm_eps,
            "tie_word_embeddings": arch.tied, "rope_theta": 10000.0, "architectures": ["LlamaForCausalLM"],
        }  # fmt: skip
        (place / "config.json").write_text(json.dumps(config))
        return str(place)

    return write


@pytest.fixture
def data(tmp_path, monkeypatch):
    path = tmp_path / "data" / "nq_open" / "NQ-open.dev_a.jsonl.gz"
    path.parent.mkdir(parents=True)
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps({"question": f"who is {i}", "answer": ["nobody"]}) + "\n" for i in range(25))
    monkeypatch.setenv("SOLON_DATA", str(tmp_path / "data"))


def test_a_table_and_a_second_call(solon, folder, data):
    model = folder("one", 0)
    shown = solon("eval", model, "nq_open", "--limit", 8, "--max-tokens", 3)
    assert shown.code == 0, shown.err
    assert "nq_open" in shown.out and "95 % interval" in shown.out and "by chance" in shown.out and " 8 " in shown.out
    assert "replies ended at the token limit" in shown.out
    again = solon("eval", model, "nq_open", "--limit", 8, "--max-tokens", 3)
    assert again.code == 0 and "found benchmark-" in again.err and "nq_open" in again.out
    told = json.loads(solon("eval", model, "nq_open", "--limit", 8, "--max-tokens", 3, "--json").out)
    (one,) = told["models"]
    assert one["suites"]["nq_open"]["reused"] and one["suites"]["nq_open"]["figures"]["exact"]["n"] == 8


def test_a_form_is_evaluated_under_its_own_name(solon, folder, data, tmp_path):
    words = ("eval", folder("one", 0), "nq_open", "--limit", 8, "--max-tokens", 3, "--json")
    (plain,), (low,), (again,) = (json.loads(solon(*words, *more).out)["models"] for more in ((), ("--quantise", "int4"), ("--quantise", "int4")))
    assert (plain["quantise"], low["quantise"]) == ("none", "int4")
    ids = [one["suites"]["nq_open"]["artifact"] for one in (plain, low, again)]
    assert ids[0] != ids[1] == ids[2] and not low["suites"]["nq_open"]["reused"] and again["suites"]["nq_open"]["reused"]
    evidence = json.loads((tmp_path / "runs" / "artifacts" / ids[1] / "evidence.json").read_text())
    assert evidence["config"]["quantise"] == evidence["facts"]["quantise"] == "int4"
    wrong = solon(*words, "--quantise", "int3")
    assert wrong.code == 2 and "int8, int4" in wrong.err and len(list((tmp_path / "runs" / "drafts").glob("*/"))) == 0


def test_two_models(solon, folder, data):
    a, b = folder("a", 0), folder("b", 1)
    shown = solon("eval", a, b, "--suite", "nq_open", "--limit", 8, "--max-tokens", 3)
    assert shown.code == 0, shown.err
    assert "no detectable change" in shown.out and "could have seen" in shown.out and "McNemar exact" in shown.out


def test_three_models_are_compared_two_by_two_and_ranked(solon, monkeypatch):
    """On results that are written by hand: no model is asked."""
    from solon.evals.asking import load
    from solon.stages import benchmark as stage

    right = {"a": 0.8, "b": 0.5, "c": 0.3}

    def made(store, config, suite, subject, *_, **__):
        card, draw = load(suite).CARD, np.random.default_rng(len(subject.name + suite))
        values = (draw.random(40) < right[subject.name]).astype(float).tolist() if suite == "humaneval" else [0.0] * 40
        main = next(iter(card.figures))
        one = {"value": sum(values) / 40, "ci": [0.1, 0.9], "n": 40, "what": "", "share": True, "lower_is_better": False, "chance": None, "target": None}

        def build(draft):
            draft.write_rows("rows", [{"id": f"i{n}", "figures": {main: x}, "tags": {}} for n, x in enumerate(values)])
            draft.write("card.json", {"suite": suite, **asdict(card)})
            draft.write("figures.json", {"figures": {main: one}, "counts": {"items": 40, "dropped": {}, "missing": {}, "cut": 0}})

        return store.make("benchmark", 1, {"suite": suite}, {"model": f"{subject.name}@0"}, build)

    monkeypatch.setattr(stage, "benchmark", made)
    shown = solon("eval", "a", "b", "c", "--suite", "humaneval,mbpp")
    assert shown.code == 0, shown.err
    for pair in ("a to b", "a to c", "b to c"):
        assert f"humaneval: from {pair}" in shown.out
    assert "main figures, as one family of 6 comparisons" in shown.out and "Cohen's h" in shown.out and "(95 % CI" in shown.out
    assert "largest drop: humaneval pass@1, a to c" in shown.out and "by Holm, q " in shown.out
    assert "mbpp: no strengths by pass@1: no model did better" in shown.out, "all of them failed everywhere"
    ranked = shown.out[shown.out.index("humaneval: strengths") :].splitlines()
    assert [line.split()[0] for line in ranked if line.split()[:1] in (["a"], ["b"], ["c"])][:3] == ["a", "b", "c"]


def test_a_stored_result_that_was_edited_is_not_shown(solon, folder, data, tmp_path):
    words = ("eval", folder("one", 0), "hard_choices")
    assert solon(*words, "--json").code == 0
    (place,) = (tmp_path / "runs" / "artifacts").glob("benchmark-*")
    assert [row["verdict"] for row in json.loads(solon("eval", "targets", "--json").out) if row["value"] is not None] == ["own items only"]
    found = json.loads((place / "figures.json").read_text())
    found["figures"]["acc"] |= {"value": 1.0, "ci": [0.99, 1.0]}
    (place / "figures.json").write_text(json.dumps(found))
    again = solon(*words)
    assert again.code != 0 and "figures.json was changed after it was made" in again.err and "delete the folder" in again.err and "Traceback" not in again.err
    shown = solon("eval", "targets")
    assert "figures.json was changed" in shown.err and "100.0 %" not in shown.out
    assert {row["value"] for row in json.loads(solon("eval", "targets", "--json").out)} == {None}


def test_listing_and_targets(solon):
    shown = solon("eval", "--list")
    assert shown.code == 0 and "truthfulqa" in shown.out and "Apache-2.0" in shown.out and "capability" in shown.out
    cards = json.loads(solon("eval", "--list", "--json").out)
    assert cards["mmlu"]["licence"] == "MIT" and cards["mmlu"]["figures"]
    rows = json.loads(solon("eval", "targets", "--json").out)
    assert {row["verdict"] for row in rows} == {"not measured"}
    assert "not measured" in solon("eval", "targets").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name a model and a suite"), (("m",), "name a model and a suite"), (("a", "b", "c"), "name a model and a suite"),
        (("m", "truthfulqe"), "did you mean 'truthfulqa'"), (("a", "a", "--suite", "mmlu"), "two different ones"),
        (("nowhere", "nq_open"), "to do:"), (("m", "dated_programs", "--since", "soon"), "since"),
    ],
)  # fmt: skip
def test_mistakes(solon, data, words, said):
    shown = solon("eval", *words)
    assert shown.code == 2 and said in shown.err and "Traceback" not in shown.err and len(shown.err.splitlines()) < 20


def test_missing_data_and_too_large_a_limit(solon, folder, data, tmp_path, monkeypatch):
    model = folder("one", 0)
    shown = solon("eval", model, "nq_open", "--limit", 21)
    assert shown.code == 2 and "at most 20" in shown.err
    shown = solon("eval", model, "mmlu")
    assert shown.code == 2 and "SOLON_DATA" in shown.err and "mmlu/" in shown.err
    assert not list((tmp_path / "runs" / "artifacts").glob("*"))


def test_power_before_a_run_is_that_of_the_test(solon, data):
    from solon.evals.statistics.power import power_of_shares

    (row,) = json.loads(solon("eval", "power", "nq_open", "--difference", 0.1, "--json").out)
    assert row["n"] == 20, "five of the 25 are examples"
    for changed, smallest in row["detectable"].items():
        share = max(float(changed), smallest)
        assert power_of_shares(20, (share + smallest) / 2, (share - smallest) / 2) == pytest.approx(0.8, abs=0.01)
    needed = row["needed"]["0.2"]
    assert power_of_shares(needed, 0.15, 0.05) >= 0.8 > power_of_shares(needed - 1, 0.15, 0.05)
    (fewer,) = json.loads(solon("eval", "power", "nq_open", "--limit", 10, "--json").out)
    assert fewer["n"] == 10 and fewer["detectable"]["0.2"] > row["detectable"]["0.2"] and fewer["needed"] is None
    shown = solon("eval", "power", "nq_open,mmlu", "--difference", 0.1)
    assert shown.code == 0 and "not here" in shown.out and f"{needed:,} (20 % change)" in shown.out


@pytest.mark.parametrize("arguments", [("power",), ("power", "nq_open", "mmlu"), ("power", "nowhere"), ("power", "nq_open", "--difference", 2), ("x", "nq_open", "--difference", 0.1)])
def test_a_wrong_call_for_power_is_one_screen(solon, data, arguments):
    shown = solon("eval", *arguments)
    assert shown.code == 2 and "Traceback" not in shown.err and shown.out == ""


def test_own_suites_need_no_data_and_show_domains(solon, folder, monkeypatch):
    monkeypatch.delenv("SOLON_DATA", raising=False)
    shown = solon("eval", folder("one", 0), "hard_choices")
    assert shown.code == 0, shown.err
    (head,) = [line for line in shown.out.splitlines() if "mathematics" in line]
    assert "science" in head and "coding" in head and "hard_choices acc" in shown.out and "25.0" in shown.out
