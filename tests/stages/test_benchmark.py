"""Benchmarks of a tiny model over small data: made once, gone on with after a stop, compared item by item, and mistakes."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from solon.core.artifacts import Draft, Silent, Store
from solon.core.errors import ConfigError, DataError, MissingError
from solon.evals.asking import Ask, Options
from solon.evals.suites import consistency
from solon.generate.score import row_logprobs
from solon.stages import _benchmark_answers as answers
from solon.stages import benchmark as stage
from solon.stages._benchmark_tables import (
    across_suites,
    capability,
    compared,
    every_pair,
    largest_drop,
    targets,
)
from solon.stages._benchmark_window import within
from solon.stages.benchmark import Benchmark, Subject, benchmark, chosen_suites, figures
from solon.text.template import Tokens

TRUTH = ["Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source"]
WORDS = "Salt oats plum Rye fig hay yew elm".split()
TRUTH += [
    f"A,C{i % 3},What is {i}?,{WORDS[i % 8]} {i},{WORDS[i % 8]} {i}; rock,{WORDS[i % 7]} {i * i}; a {WORDS[i % 5]} {i},-"
    for i in range(90)
]


def written(path: Path, rows: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of the suites' files with made-up rows."""
    folder = tmp_path / "data"
    monkeypatch.setenv("SOLON_DATA", str(folder))
    written(folder / "truthfulqa/TruthfulQA_dev.csv.gz", TRUTH)
    written(
        folder / "ifeval/input_data_dev.jsonl.gz",
        [
            {"key": i, "prompt": f"Say {i} without commas, in quotes.", "kwargs": [{}, {}],
             "instruction_id_list": ["punctuation:no_comma", "startend:quotation"]}
            for i in range(6)
        ],
    )  # fmt: skip
    task = {"prompt": "def f(x):\n", "entry_point": "f", "test": "def check(f):\n    assert f(1) == 1\n"}
    written(folder / "humaneval/HumanEval_even.jsonl.gz", [{**task, "task_id": f"HumanEval/{i}"} for i in range(0, 8, 2)])
    return folder


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


def subject_of(model, store, name="tiny", context=1024):
    """A model in memory that needs no name, with room for the worked examples."""
    made, model = Subject(name, store), replace(model, arch=replace(model.arch, context=context))
    made.__dict__.update(model=model, source=f"{name}@0")
    return made


def other(model):
    """The same architecture with other weights."""
    from solon.core.weights import init
    from solon.models.architecture import spec

    return replace(model, params=init(spec(model.arch), model.arch.sizes, seed=1))


def test_an_artifact_with_figures_and_a_second_call_that_finds_it(data, store, tiny_model):
    subject = subject_of(tiny_model, store)
    made = benchmark(store, Benchmark(limit=16), "truthfulqa", subject)
    rows, told = list(made.rows("rows")), made.read("figures.json")
    assert len(rows) == 16 and told["counts"] == {"items": 16, "dropped": {}, "missing": {}, "cut": 0}
    for row in rows:
        best, rock, *false = row["nats"]
        assert row["figures"]["mc1"] == float(best > max(false))
        shares = np.exp(np.array(row["nats"]) - max(row["nats"]))
        assert row["figures"]["mc2"] == pytest.approx(shares[:2].sum() / shares.sum())
    for name, figure in told["figures"].items():
        assert figure["value"] == pytest.approx(np.mean([row["figures"][name] for row in rows])) and figure["n"] == 16
        assert figure["ci"][0] <= figure["value"] <= figure["ci"][1] and figure["how"]
    guessed = [1 / (len(row["options"]) - 1) for row in rows]  # one of the two true answers does not compete
    assert told["figures"]["mc1"]["chance"] == pytest.approx(np.mean(guessed)) and "share, Wilson 95 %" in told["figures"]["mc1"]["how"]
    assert sum(cell["n"] for cell in told["slices"]["category"].values()) == 16
    evidence = made.evidence
    assert evidence["data"]["licences"] == ["Apache-2.0"] and evidence["inputs"] == {"model": "tiny@0"}
    assert {one["name"] for one in evidence["metrics"]} == {"truthfulqa mc1", "truthfulqa mc2"}
    del subject.__dict__["model"]  # a second call needs no model
    assert benchmark(store, Benchmark(limit=16), "truthfulqa", subject).reused
    smaller = benchmark(store, Benchmark(limit=5), "truthfulqa", subject_of(tiny_model, store))
    assert not smaller.reused and {row["id"] for row in smaller.rows("rows")} < {row["id"] for row in rows}
    written(data / "truthfulqa/TruthfulQA_dev.csv.gz", TRUTH[:60])  # other data make another artifact
    assert not benchmark(store, Benchmark(limit=5), "truthfulqa", subject_of(tiny_model, store)).reused


def test_a_stop_changes_no_byte(data, store, tmp_path, tiny_model, monkeypatch):
    whole = benchmark(store, Benchmark(), "truthfulqa", subject_of(tiny_model, store))
    second, calls = Store(tmp_path / "again"), []
    real = stage.shard

    def stops(*args):
        calls.append(len(args[5]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(stage, "shard", stops)
    with pytest.raises(KeyboardInterrupt):
        benchmark(second, Benchmark(), "truthfulqa", subject_of(tiny_model, second))
    resumed = benchmark(second, Benchmark(), "truthfulqa", subject_of(tiny_model, second))
    assert calls == [64, 26, 26]  # the first shard was not asked again
    for name in ("rows.jsonl", "figures.json", "card.json"):
        assert (resumed.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_replies_are_drawn_graded_and_cut(data, store, tiny_model):
    made = benchmark(store, Benchmark(max_tokens=4), "ifeval", subject_of(tiny_model, store))
    rows, told = list(made.rows("rows")), made.read("figures.json")
    assert len(rows) == 6 and told["counts"]["cut"] == sum(row["cut"] for row in rows) > 0
    flat = [x for row in rows for x in row["figures"]["instruction_strict"]]
    assert told["figures"]["instruction_strict"]["value"] == pytest.approx(np.mean(flat)) and len(flat) == 12
    assert "6 clusters" in told["figures"]["instruction_loose"]["how"] or set(flat) in ({0.0}, {1.0}, {0.0, 1.0})
    assert all(isinstance(row["replies"][0][0], str) for row in rows)


def test_programs_go_to_the_sandbox(data, store, tiny_model, monkeypatch):
    monkeypatch.setattr(stage, "sandbox", lambda: lambda program: "passed" if "check(f)" in program else "failed")
    monkeypatch.setattr("solon.evals.programs.is_python", lambda program: True)
    config = Benchmark(max_tokens=4, samples=3, temperature=1.0)
    made = benchmark(store, config, "humaneval", subject_of(tiny_model, store))
    rows = list(made.rows("rows"))
    assert all(row["figures"] == {"parses": 1.0, "pass@1": 1.0} and len(row["replies"]) == 3 for row in rows)
    assert len({reply[0] for row in rows for reply in row["replies"]}) > 4  # every draw has a key of its own
    monkeypatch.setattr(stage, "sandbox", lambda: None)
    without = benchmark(store, config, "humaneval", subject_of(tiny_model, store))
    assert without.id != made.id
    told = without.read("figures.json")
    assert list(told["figures"]) == ["parses"] and told["counts"]["missing"] == {"not run: there is no sandbox here": 4}
    with pytest.raises(ConfigError, match="greedy draws would all be the same"):
        benchmark(store, Benchmark(samples=2), "humaneval", subject_of(tiny_model, store))


def test_a_judge_answers_in_words(store, tiny_model):
    subject = subject_of(tiny_model, store)
    say = stage.answering(subject)
    from solon.core.records import user

    assert isinstance(say(user("hi")), str) and say(user("word " * 600)) == ""  # no room for an answer


class Said:
    """A draft that only counts."""

    tokens = 0


def read(model, items):
    more = answers._Meter(lambda by: None, len(items), 0)
    return answers.read_options(model, items, Said(), more)


def test_options_of_one_token_read_as_those_of_many(tiny_model):
    """One reading of the context gives what scoring each option whole gives; spaces at the end go to the option."""
    tokenizer = tiny_model.tokenizer
    letters = [Options(f"l{i}", f"Question {i} of the test\nAnswer:", tuple("ABCD"), (0,)) for i in range(5)]
    words = [Options(f"w{i}", f"Question {i} is: ", (" the", "another one"), (0,), delimiter="") for i in range(3)]
    got = read(tiny_model, [*letters, *words])
    for item, (found, facts) in zip([*letters, *words], got, strict=True):
        context, options = answers.encode_options(tiny_model, item)
        lines = [Tokens([*context, *one], [False] * len(context) + [True] * len(one)) for one in options]
        want = [float(row.sum()) for row in row_logprobs(tiny_model, lines)]
        assert found.nats == pytest.approx(want, abs=1e-4) and facts["tokens"] == [len(one) for one in options]
        whole = tokenizer.encode(item.context + item.delimiter + item.options[1], special=False)
        assert context + options[1] == whole
    assert tokenizer.decode(answers.encode_options(tiny_model, words[0])[1][0]) == "  the"
    alone = answers.encode_options(tiny_model, Options("x", "", ("the end",), (0,), delimiter=""))
    assert alone[0] == [tokenizer.bos]  # a text without a context stands after the first token


def test_what_does_not_fit_is_dropped_and_counted(tiny_model, store):
    long = Options("long", "word " * 400, ("A", "B"), (0,))
    short = Options("short", "word", ("A", "B"), (0,))
    (none, facts), (found, _) = read(tiny_model, [long, short])
    assert none is None and facts["dropped"] == answers.TOO_LONG and facts["length"] > 512 and len(found.nats) == 2
    config, subject = Benchmark(max_tokens=40), subject_of(tiny_model, store, context=512)
    more = answers._Meter(lambda by: None, 3, 0)
    asks = [Ask("long", "word " * 400), Ask("tight", "a" * 475, max_tokens=40), Ask("short", "word", max_tokens=3)]
    got = answers.write_replies(subject, asks, config, "x", Said(), more)
    assert [answer is None for answer, _ in got] == [True, False, False]
    assert got[0][1]["dropped"] == answers.TOO_LONG
    assert figures(stage.load("mmlu").CARD, [{"figures": {}, "chance": {}, "tags": {}}]) == {}


def test_a_model_with_too_short_a_context_drops_all(data, store, tiny_model):
    made = benchmark(store, Benchmark(limit=3), "truthfulqa", subject_of(tiny_model, store, context=64))
    told = made.read("figures.json")
    assert told["figures"] == {} and told["counts"]["dropped"] == {answers.TOO_LONG: 3}
    assert made.evidence["data"] == {"kept": 0, "dropped": {answers.TOO_LONG: 3}, "licences": ["Apache-2.0"]}


def test_turns_follow_each_other(tiny_model, store):
    from solon.core.records import user

    item = Ask("x", user("one"), max_tokens=5, more=("two", "three"), temperature=0.0, samples=1)
    subject, more = subject_of(tiny_model, store), answers._Meter(lambda by: None, 1, 0)
    ((answer, facts),) = answers.write_replies(subject, [item], Benchmark(), "x", Said(), more)
    assert len(answer.draws[0]) == 3 and facts["replies"] == [list(answer.draws[0])]
    talk = answers._Talk(item, 0, list(answer.draws[0][:2]))
    text = tiny_model.tokenizer.decode(talk.prompt(tiny_model.tokenizer))
    assert text.index("one") < text.index("two") < text.index("three") and text.endswith("<|im_start|>assistant\n")


def test_two_models_are_compared_item_by_item(data, store, tiny_model):
    a = benchmark(store, Benchmark(limit=40), "truthfulqa", subject_of(tiny_model, store, "a"))
    b = benchmark(store, Benchmark(limit=40), "truthfulqa", subject_of(other(tiny_model), store, "b"))
    same = {row["figure"]: row for row in compared(a, a)}
    assert same["mc1"]["p"] == 1.0 and same["mc1"]["plain"].startswith("no detectable change (0.0 points")
    changed = {row["figure"]: row for row in compared(a, b)}
    first, second = ([row["figures"]["mc1"] for row in one.rows("rows")] for one in (a, b))
    up, down = (sum(x < y for x, y in zip(*pair, strict=True)) for pair in ((first, second), (second, first)))
    assert changed["mc1"]["difference"] == pytest.approx((up - down) / 40) and changed["mc1"]["n"] == 40
    assert f"({up} up, {down} down" in changed["mc1"]["test"] and changed["mc1"]["left_out"] == 0
    assert "points" in changed["mc1"]["plain"] and "sign-flip" in changed["mc2"]["test"]
    assert all(row["p_holm"] >= row["p"] for row in changed.values())
    mains = across_suites({"truthfulqa": every_pair({"a": a, "b": b})})
    assert [(row["figure"], row["from"], row["to"]) for row in mains] == [("mc1", "a", "b")]
    assert (largest_drop(mains) is None) == (changed["mc1"]["difference"] >= 0)
    lower = {**mains[0], "difference": 0.5, "a": 2.0, "lower_is_better": True}
    assert largest_drop([lower, {**lower, "difference": 0.1}])["lost"] == 0.25
    fewer = benchmark(store, Benchmark(limit=10), "truthfulqa", subject_of(other(tiny_model), store, "b"))
    assert {row["left_out"] for row in compared(a, fewer)} == {30}


def test_domains_and_targets(data, store, tiny_model, monkeypatch):
    monkeypatch.setattr(stage, "sandbox", lambda: lambda program: "failed")
    subject = subject_of(tiny_model, store)
    made = {name: benchmark(store, Benchmark(max_tokens=2), name, subject) for name in ("humaneval", "ifeval")}
    table = capability(made)
    assert list(table) == ["science", "mathematics", "coding", "writing", "language"] and not table["science"]
    (coding,), (language,) = table["coding"], table["language"]
    assert (coding["suite"], coding["figure"], coding["n"], coding["value"]) == ("humaneval", "pass@1", 4, 0.0)
    assert language["figure"] == "prompt_strict" and language["n"] == 6
    assert {row["figure"] for row in compared(made["ifeval"], made["ifeval"])} >= {"prompt_strict", "instruction_loose"}
    with pytest.raises(DataError, match="two different suites"):
        compared(made["humaneval"], made["ifeval"])
    rows = {row["goal"]: row for row in targets(store)}
    assert rows["HumanEval"]["verdict"] == "missed" and rows["HumanEval"]["gap"] == pytest.approx(-0.99)
    assert rows["SWE-bench Verified"]["verdict"] == rows["MBPP"]["verdict"] == "not measured"
    assert {row["verdict"] for row in targets(Store(store.root / "nothing"))} == {"not measured"}
    benchmark(store, Benchmark(max_tokens=2), "hard_choices", subject)
    (own,) = [row for row in targets(store) if row["goal"] == "GPQA Diamond"]
    assert (own["stand_in"], own["verdict"], own["n"]) == ("hard_choices", "own items only", 50)
    assert own["gap"] == pytest.approx(own["value"] - 0.86)


def test_consistency_makes_groups(store, tiny_model, monkeypatch):
    monkeypatch.setattr(consistency, "TOKENS", 3)
    made = benchmark(store, Benchmark(limit=3), "consistency", subject_of(tiny_model, store))
    groups, told = list(made.rows("groups")), made.read("figures.json")["figures"]
    units = {row["tags"]["group"] for row in made.rows("rows")}
    assert len(units) == 3 and told["option_order"]["target"] == 0.9
    order = [one["figures"]["option_order"] for one in groups if "option_order" in one["figures"]]
    assert told["option_order"]["value"] == pytest.approx(np.mean(order)) and told["option_order"]["n"] == len(order)
    assert 0 < told["option_order"]["chance"] < 1


def test_mistakes_say_what_to_do(store, tiny_model, data, monkeypatch):
    subject = subject_of(tiny_model, store)
    with pytest.raises(MissingError, match="did you mean 'truthfulqa'"):
        chosen_suites("mmlu,truthfulqe")
    with pytest.raises(ConfigError, match="no suite is named"):
        chosen_suites(" , ")
    assert chosen_suites("mmlu, capability")[:2] == ["mmlu", "gsm8k"] and "hhh" in chosen_suites("all")
    monkeypatch.setattr(stage, "sandbox", lambda: None)
    with pytest.raises(ConfigError, match="smaller than that[^$]*at most 4[^$]*leave --limit out"):
        benchmark(store, Benchmark(limit=5), "humaneval", subject)
    assert not list((store.root / "drafts").glob("benchmark-*/")) and not list((store.root / "artifacts").glob("*"))
    assert len(list(benchmark(store, Benchmark(limit=5, max_tokens=2), "humaneval", subject, capped=True).rows("rows"))) == 4
    with pytest.raises(MissingError, match="there is no folder .*mmlu"):
        benchmark(store, Benchmark(), "mmlu", subject)
    (data / "mmlu").mkdir()
    with pytest.raises(MissingError, match="'mmlu' lacks a file"):
        benchmark(store, Benchmark(), "mmlu", subject)
    monkeypatch.delenv("SOLON_DATA")
    with pytest.raises(MissingError, match="SOLON_DATA is not set[^$]*holds mmlu/"):
        benchmark(store, Benchmark(), "mmlu", subject)


def test_progress_is_told_in_items(tmp_path):
    steps = []
    meter = answers._Meter(steps.append, 10, 200)
    for tokens in (50, 100, 300):
        meter(tokens)
    meter.finish()
    assert math.isclose(sum(steps), 10) and all(step >= 0 for step in steps)
    assert Draft("x", tmp_path, Silent()).tokens == 0


def dated(*days: str) -> list[Ask]:
    return [Ask(str(i), "q", tags={"written": day}) for i, day in enumerate(days)]


@pytest.mark.parametrize(
    ("since", "until", "kept"),
    [(None, None, "012"), ("2026-02-01", None, "12"), (None, "2026-02-01", "01"), ("2026-01-31", "2026-02-28", "01"), ("2026-02-01", "2026-02-01", "1")],
)  # fmt: skip
def test_a_window_keeps_what_was_written_in_it(since, until, kept):
    config = Benchmark(since=since, until=until)
    found = within(dated("2026-01-31", "2026-02-01", "2026-03-05"), config.since, config.until, "x")
    assert "".join(item.id for item in found) == kept
    assert tuple(name in config.model_dump() for name in ("since", "until")) == (since is not None, until is not None)


def test_a_window_without_dates_or_rows_is_refused(data, store, tiny_model):
    for window, items, said in (
        ({"since": "2027-01-01"}, dated("2026-01-31"), "no item"), ({"since": "2026-01-01"}, [Ask("a", "q")], "does not say when"),
        ({"since": "2026-02-01", "until": "2026-01-01"}, dated("2026-01-31"), "ends before"),
    ):  # fmt: skip
        config = Benchmark(**window)
        with pytest.raises(ConfigError, match=said):
            within(items, config.since, config.until, "x")
    with pytest.raises(ConfigError, match="does not say when"):
        benchmark(store, Benchmark(since="2026-01-01"), "truthfulqa", subject_of(tiny_model, store))
    assert not list((store.root / "drafts").glob("*/"))
