"""`solon rate` from pairs to preferences that a recipe can read."""

import csv
import json

import pytest
from typer.testing import CliRunner

from solon.cli.program import app
from solon.core.keys import rng
from solon.curate import catalogue

runner = CliRunner()
WORDS = "some reply that is long enough to be scrambled for an attention check".split()


def solon(*args, code=0):
    done = runner.invoke(app, [str(one) for one in args])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"id": f"p{i}", "prompt": f"Question {i}?", "first": " ".join([*WORDS, f"one {i}"]), "second": " ".join([*WORDS[::-1], f"two {i}"]),
         "first_writer": "base", "second_writer": "aligned"}
        for i in range(40)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def batch(source, tmp_path):
    solon("rate", "draw", source, "--out", tmp_path / "batch", "--seed", 4, "--repeats", 0.2)
    return tmp_path / "batch"


def rated(batch, name, flip=0.0, kind="human"):
    """Reads: prefers the reply that ends in a number that its item's name decides."""
    rows = []
    for line in (batch / "tasks.jsonl").read_text().splitlines():
        task = json.loads(line)
        number = int(task["prompt"][-1]["content"].split()[1][:-1])
        wanted = "two" if rng("truth", number).random() < 0.5 else "one"
        a, b = (f"{wanted} {number}" in task[side] for side in ("a", "b"))
        intact = [side for side in ("a", "b") if " ".join(task[side].split()[:3]) in ("some reply that", "check attention an")]
        choice = intact[0] if len(intact) == 1 else "a" if a and not b else "b" if b else "tie"
        if len(intact) == 2 and rng(name, number).random() < flip:
            choice = "b" if choice == "a" else "a"
        rows.append({"task": task["task"], "rater": name, "kind": kind, "choice": choice})
    path = batch.parent / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_drawn_and_hidden(batch, source, tmp_path):
    about = json.loads((batch / "batch.json").read_text())
    assert about["seed"] == 4 and about["tasks"] == 52 and about["source"] == "pairs.jsonl" and len(about["source_sha256"]) == 64
    shown = [json.loads(line) for line in (batch / "tasks.jsonl").read_text().splitlines()]
    assert all(set(one) == {"task", "prompt", "a", "b"} for one in shown)
    assert "aligned" not in (batch / "tasks.jsonl").read_text() and "aligned" in (batch / "key.jsonl").read_text()
    again = json.loads(solon("rate", "draw", source, "--out", tmp_path / "again", "--seed", 4, "--repeats", 0.2, "--json"))
    assert again["tasks"] == 52 and (tmp_path / "again" / "tasks.jsonl").read_bytes() == (batch / "tasks.jsonl").read_bytes()


def test_accepted_and_exported(batch, tmp_path):
    files = [rated(batch, "anna"), rated(batch, "ben", flip=0.05)]
    verdict = json.loads(solon("rate", "check", batch, *files, "--json"))
    assert verdict["accepted"] and verdict["agreement"]["value"] > 0.8 and verdict["rater_kind"] == "human"
    assert "accepted; labels of kind: human" in solon("rate", "check", batch, *files)
    out = tmp_path / "preferences.jsonl"
    solon("rate", "export", batch, *files, "--out", out)
    found = catalogue.preferences(str(out))
    assert 30 <= len(found) <= 40 and all(one.p_first == 1.0 for one in found)
    number = int(found[0].id[1:])
    assert f"{'two' if rng('truth', number).random() < 0.5 else 'one'} {number}" in found[0].first
    row = json.loads(out.read_text().splitlines()[0])
    assert row["rater_kind"] == "human" and row["chosen_writer"] in ("base", "aligned") and 0.5 < row["share"] <= 1
    assert len(catalogue.labelled_pairs(str(out))) == len(found)


def test_all_ratings_as_csv(batch, tmp_path):
    files = [rated(batch, "anna"), rated(batch, "bot", flip=0.5, kind="model:probe")]
    out = tmp_path / "all.csv"
    solon("rate", "export", batch, *files, "--as", "ratings", "--out", out)
    with out.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 104 and {row["rater_kind"] for row in table} == {"human", "model:probe"}
    assert {row["role"] for row in table} == {"task", "repeat", "check"} and table[0]["batch_accepted"] == "False"
    mine = tmp_path / "anna.csv"
    with mine.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["task", "rater", "kind", "choice", "a_accuracy"])
        writer.writeheader()
        for line in files[0].read_text().splitlines():
            writer.writerow({**json.loads(line), "a_accuracy": ""})
    solon("rate", "check", batch, mine, rated(batch, "ben"))


def test_rejected_batches_teach_nothing(batch, tmp_path):
    files = [rated(batch, "anna"), rated(batch, "ben", flip=0.4)]
    assert "rejected" in solon("rate", "check", batch, *files, code=1)
    said = solon("rate", "export", batch, *files, "--out", tmp_path / "no.jsonl", code=2)
    assert "rejected" in said and "above 0.7 is needed" in said and not (tmp_path / "no.jsonl").exists()


def test_mistakes_are_one_screen_and_write_nothing(batch, source, tmp_path):
    anna = rated(batch, "anna")
    lines = anna.read_text().splitlines()
    for spoil, words in (
        (lines[1:], "left tasks out"),
        ([*lines, lines[0]], "twice"),
        ([lines[0].replace("human", "robot"), *lines[1:]], "what kind of rater"),
        ([json.dumps({**json.loads(lines[0]), "task": "t-1"}), *lines[1:]], "not in the batch"),
        ([json.dumps({**json.loads(lines[0]), "choice": "left"}), *lines[1:]], "makes no choice"),
        ([json.dumps({**json.loads(lines[0]), "a_accuracy": "good"}), *lines[1:]], "no mark"),
        (['{"task": "t-1"}', *lines[1:]], "'rater' is missing"),
    ):
        anna.write_text("\n".join(spoil) + "\n")
        said = solon("rate", "check", batch, anna, code=2)
        assert words in said and "Traceback" not in said
    assert "exists" in solon("rate", "draw", source, "--out", batch, code=2)
    assert "any, human or model" in solon("rate", "draw", source, "--out", tmp_path / "x", "--raters", "cats", code=2)
    assert "no file" in solon("rate", "draw", tmp_path / "absent.jsonl", "--out", tmp_path / "x", code=2)
    assert "cannot be drawn" in solon("rate", "draw", source, "--count", 400, "--out", tmp_path / "x", code=2)
    assert "no batch" in solon("rate", "check", tmp_path, anna, code=2)
    assert not (tmp_path / "x").exists() and not (tmp_path / "x.part").exists()


def test_a_changed_batch_is_refused(batch):
    key = batch / "key.jsonl"
    key.write_text(key.read_text().replace('"swapped": true', '"swapped": false', 1))
    assert "was changed" in solon("rate", "check", batch, rated(batch, "anna"), code=2)


def test_from_a_named_set_and_from_artifacts(tmp_path):
    from solon.core.artifacts import Store

    solon("rate", "draw", "starter:labelled_pairs", "--count", 20, "--out", tmp_path / "starter")
    assert "chosen" in (tmp_path / "starter" / "key.jsonl").read_text()
    store = Store(tmp_path / "runs")
    prompt = [{"role": "user", "content": "Hi?"}]

    def write(rows, name):
        return lambda draft: draft.write_rows(name, rows)

    drawn = [{"id": f"r{i}", "prompt": prompt, "first": f"{i} a", "second": f"{i} b"} for i in range(9)]
    drawn.append({"id": "r9", "prompt": prompt, "first": "", "second": "x", "dropped": "an empty reply"})
    made = store.make("pairs", 1, {}, {}, write(drawn, "rows"))
    shown = json.loads(solon("rate", "draw", made.id, "--checks", 0, "--out", tmp_path / "p", "--runs", store.root, "--json"))
    assert shown["source"] == made.id and shown["tasks"] == 12, "nine pairs, three of them twice"
    replies = lambda who: [{"id": f"e{i}", "kind": "helpful", "prompt": prompt, "reply": f"{who} {i % 8}"} for i in range(9)]  # noqa: E731
    one, two = (store.make("evaluate", 1, {"model": who}, {}, write(replies(who), "replies")) for who in ("base", "aligned"))
    args = ("--checks", 0, "--kind", "helpful", "--runs", store.root)
    shown = json.loads(solon("rate", "draw", one.id, two.id, *args, "--out", tmp_path / "e", "--json"))
    assert shown["tasks"] == 12 and shown["writers"] == [one.id, two.id] and shown["source"] == one.id
    assert "share no items" in solon("rate", "draw", one.id, two.id, "--kind", "benign", "--runs", store.root, "--out", tmp_path / "n", code=2)
    assert "no replies to compare" in solon("rate", "draw", one.id, made.id, "--runs", store.root, "--out", tmp_path / "n", code=2)


def test_a_model_rates_in_both_orders_and_is_checked_as_people_are(batch, source, tmp_path, monkeypatch):
    from solon.constitution import judging
    from solon.constitution.judging import Opinion
    from solon.stages import models

    class Reader:
        """Prefers the reply that the item's name decides; of item 7 it likes what stands first, and of item 9 it has no opinion."""

        def prefer(self, questions):
            made = []
            for one in questions:
                number = int(one.prompt[-1].content.split()[1][:-1])
                wanted = f"{'two' if rng('truth', number).random() < 0.5 else 'one'} {number}"
                a, b = (wanted in text for text in (one.first, one.second))
                intact = [" ".join(text.split()[:3]) in ("some reply that", "check attention an") for text in (one.first, one.second)]
                first = 0.9 if (intact[0] if intact[0] != intact[1] else a and not b) else 0.1
                orders = (0.8, 0.8) if number == 7 and all(intact) else (None, None) if number == 9 else (first, 1 - first)
                made.append(Opinion(None, *orders))
            return made

    monkeypatch.setattr(models, "resolve", lambda *_: None)
    monkeypatch.setattr(judging, "judge_by", lambda *_: Reader())
    shown = solon("rate", "judge", batch, "--judge", "probe", "--out", tmp_path / "model.jsonl")
    silent = sum("Question 9?" in line for line in (batch / "tasks.jsonl").read_text().splitlines())
    assert f"{52 - silent} ratings of kind model:probe; {silent} tasks without an opinion" in shown
    rows = {row["task"]: row for row in map(json.loads, (tmp_path / "model.jsonl").read_text().splitlines())}
    of = {json.loads(line)["task"]: json.loads(line) for line in (batch / "tasks.jsonl").read_text().splitlines()}
    assert "tie" in {row["choice"] for id, row in rows.items() if "Question 7?" in of[id]["prompt"][-1]["content"]}
    verdict = json.loads(solon("rate", "check", batch, tmp_path / "model.jsonl", rated(batch, "anna"), "--partial", "--json"))
    assert verdict["accepted"] and verdict["rater_kind"] == "human and model:probe" and verdict["agreement"]["value"] > 0.9
    solon("rate", "draw", source, "--out", tmp_path / "people", "--raters", "human")
    said = solon("rate", "judge", tmp_path / "people", "--judge", "probe", "--out", tmp_path / "no.jsonl", code=2)
    assert "for people" in said and not (tmp_path / "no.jsonl").exists()


def test_marks_are_in_the_help_and_their_agreement_is_told(batch):
    shown = " ".join(solon("rate", "check", "--help").replace("│", " ").split())
    assert "a_helpfulness" in shown and "b_accuracy" in shown and "from 1 to 5" in shown
    files = [rated(batch, "anna"), rated(batch, "ben")]
    for path in files:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**row, "a_accuracy": 1 + len(row["task"] + str(n)) % 5, "b_accuracy": 1 + n % 5}) + "\n" for n, row in enumerate(rows)))
    assert "agreement on accuracy (ordinal alpha)" in solon("rate", "check", batch, *files)
    told = json.loads(solon("rate", "check", batch, *files, "--json"))["scale_agreement"]
    assert told["accuracy"]["value"] == 1.0 and told["accuracy"]["n"] == 80


def test_equal_and_empty_replies_are_told_and_kept_with_the_batch(tmp_path):
    from solon.core.artifacts import Store

    store = Store(tmp_path / "runs")
    words = {"base": WORDS, "aligned": WORDS[::-1]}
    reply = lambda who, n: "same" if n == 40 else "" if n > 40 and who == "aligned" else " ".join([*words[who], f"{'one' if who == 'base' else 'two'} {n}"])  # noqa: E731
    ids = []
    for who in words:
        rows = [{"id": f"e{n}", "kind": "helpful", "prompt": [{"role": "user", "content": f"Question {n}?"}], "reply": reply(who, n)} for n in range(44)]
        ids.append(store.make("evaluate", 1, {"model": who}, {}, lambda draft, rows=rows: draft.write_rows("replies", rows)).id)
    folder = tmp_path / "batch"
    shown = solon("rate", "draw", *ids, "--out", folder, "--runs", store.root)
    assert "Shown to nobody" in shown and "3 won by the first, 1 ties" in shown
    about = folder / "batch.json"
    assert json.loads(about.read_text())["settled"] == {"first": 3, "tie": 1}
    files = [rated(folder, "anna"), rated(folder, "ben")]
    verdict = json.loads(solon("rate", "check", folder, *files, "--json"))
    assert verdict["items"] == 40 and verdict["preference"]["n"] == 44 and "1 equal ones as ties and 3 with one empty" in verdict["preference"]["test"]
    about.write_text(about.read_text().replace('"form": 2', '"form": 1'))
    assert "another version" in solon("rate", "check", folder, *files, code=2)


def test_a_batch_of_files_is_not_kept_for_a_release(batch, tmp_path):
    files = [rated(batch, "anna"), rated(batch, "ben")]
    shown = solon("rate", "check", batch, *files, "--keep", "--runs", tmp_path / "runs", code=2)
    assert "does not compare two evaluated models" in shown and not (tmp_path / "runs").exists()
