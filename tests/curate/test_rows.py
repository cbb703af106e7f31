"""Every format and form is read, and every complaint names the file, the line or row, and the field."""

from __future__ import annotations

import gzip
import json

import pytest

from solon.core.errors import DataError, MissingError, StorageError
from solon.core.records import as_json, conversation, user
from solon.curate import rows

ASKED = [{"role": "user", "content": "Hi"}]
TALK = [*ASKED, {"role": "assistant", "content": "Hello"}]


def one(row: dict) -> list:
    return [("f.jsonl, line 3", row)]


def lines(path, *values):
    path.write_text("\n".join(v if isinstance(v, str) else json.dumps(v) for v in values), "utf-8")
    return path


def test_reads_every_format_to_the_same_rows(tmp_path):
    import pyarrow
    import pyarrow.parquet

    content = [{"prompt": 'a, "b"\nc', "response": "é"}, {"prompt": "d", "response": "e"}]
    lines(tmp_path / "a.jsonl", *content)
    lines(tmp_path / "b.json", *content)
    (tmp_path / "c.json").write_text(json.dumps(content), "utf-8")
    (tmp_path / "d.csv").write_text('prompt,response\n"a, ""b""\nc",é\nd,e\n', "utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(content), tmp_path / "e.parquet")
    (tmp_path / "f.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "g.jsonl").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.jsonl").read_bytes())
    for path in sorted(tmp_path.iterdir()):
        assert [row for _, row in rows.read(path)] == content, path.name
    assert [place.rpartition("/")[2] for place, _ in rows.read(tmp_path / "d.csv")] == [
        "d.csv, line 3",
        "d.csv, line 4",
    ]
    assert [place.rpartition("/")[2] for place, _ in rows.read(tmp_path / "e.parquet")] == [
        "e.parquet, row 1",
        "e.parquet, row 2",
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"prompt": "x"}\n{"prompt": \n', r"a.jsonl, line 2 is not valid JSON: Expecting value"),
        ("a.jsonl", b'{"prompt": "x"}\n\n[1]\n', r"a.jsonl, line 3 is not an object\n  got:      list"),
        ("a.jsonl", b'{"prompt": "x"}\n"\xff"\n', r"a.jsonl, line 2 is not UTF-8\n  got:      byte 0xff at 1"),
        ("a.jsonl", b"\n\n", r"a.jsonl holds no rows"),
        ("a.json", b"[]", r"a.json holds no rows"),
        ("a.json", b'[\n{"a": 1},\n{]', r"a.json, line 3 is not valid JSON"),
        ("a.json", b'[{"a": 1}, 2]', r"a.json, row 2 is not an object\n  got:      int"),
        ("a.csv", b"a,b\n1,2\n3\n", r"a.csv, line 3 has the wrong number of columns\n  got:      1\n  expected: 2"),
        ("a.csv", b"a,b\n1,2,3,4\n", r"a.csv, line 2 has the wrong number of columns\n  got:      4\n  expected: 2"),
        ("a.csv", b'a,b\n1,"2\n', r"a.csv, line \d is not valid CSV"),
        ("a.parquet", b"PAR1nonsense", r"a.parquet is not a Parquet file that can be read"),
        ("a.txt", b"hi", r"a.txt is of no known format\n  got:      .txt"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_its_place(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        list(rows.read(tmp_path / name))


def test_bad_lines_can_be_skipped_and_are_told(tmp_path):
    path = lines(tmp_path / "a.jsonl", "{", {"prompt": "x"}, "[]", {"prompt": ""})
    skipped: list[str] = []
    made = rows.as_prompts(rows.read(path, skipped), skipped=skipped)
    assert [sample.prompt for sample in made] == [user("x")]
    assert [complaint.partition("\n")[0].rpartition("/")[2][:16] for complaint in skipped] == [
        "a.jsonl, line 1 ", "a.jsonl, line 3 ", "a.jsonl, line 4:",
    ]  # fmt: skip


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(MissingError, match="there is no file .*nothing.jsonl"):
        list(rows.read(tmp_path / "nothing.jsonl"))
    with pytest.raises(MissingError, match="no file data/train.csv"):
        list(rows.read("data/train.csv"))
    with pytest.raises(DataError, match="is a folder"):
        list(rows.read(tmp_path))


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TALK},
        {"prompt": "Hi", "completion": "Hello"},
        {"prompt": "Hi", "response": "Hello"},
        {"prompt": ASKED, "completion": TALK[1:]},
        {"instruction": "Hi", "input": "", "output": "Hello"},
    ],
)
def test_demonstration_forms(row):
    (made,) = rows.as_demonstrations(one(row), source="mine")
    assert (as_json(made.messages), made.source) == (TALK, "mine")


def test_the_weight_of_a_demonstration():
    shown = {"prompt": "Hi", "completion": "Hello"}
    assert [rows.as_demonstrations(one({**shown, **more}))[0].weight for more in ({}, {"weight": 2}, {"weight": None})] == [1, 2, 1]
    for wrong in (0, -1, float("nan"), float("inf"), "2", True):
        with pytest.raises(DataError, match="'weight'"):
            rows.as_demonstrations(one({**shown, "weight": wrong}))


def test_the_input_of_an_instruction_stands_below_it():
    (made,) = rows.as_demonstrations(one({"instruction": "Sum up.", "input": "Long.", "output": "Short."}))
    assert made.messages[0].content == "Sum up.\n\nLong."


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No"},
        {"prompt": ASKED, "chosen": TALK[1:], "rejected": [{"role": "assistant", "content": "No"}]},
        {"chosen": TALK, "rejected": [*ASKED, {"role": "assistant", "content": "No"}]},
        {"prompt": "Hi", "chosen": TALK, "rejected": [*ASKED, {"role": "assistant", "content": "No"}]},
    ],
)
def test_preference_forms(row):
    (made,) = rows.as_preferences(one(row))
    assert (made.prompt, made.first, made.second, made.p_first) == (user("Hi"), "Hello", "No", 1.0)


@pytest.mark.parametrize(
    "row", [{"prompt": "Hi"}, {"text": "Hi"}, {"messages": ASKED}, {"prompt": ASKED}, {"instruction": "Hi"}]
)
def test_prompt_forms(row):
    (made,) = rows.as_prompts(one({**row, "id": 7, "category": "greeting"}), source="mine")
    assert (made.id, made.prompt, made.tags) == ("7", user("Hi"), {"category": "greeting", "source": "mine"})


@pytest.mark.parametrize("answer", [1, "1", "B", "b", "two"])
def test_answer_forms(answer):
    (made,) = rows.as_questions(one({"question": "?", "choices": ["one", "two"], "answer": answer}))
    assert made.answer == 1


def said(role: str, content: object = "x") -> dict:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("read", "row", "message"),
    [
        ("demonstrations", {"messages": []}, "the field 'messages' is no conversation"),
        ("demonstrations", {"messages": "Hi"}, "the field 'messages' is no conversation"),
        ("demonstrations", {"messages": ["Hi"]}, r"messages\[0\] is no turn"),
        ("demonstrations", {"messages": [said("human")]}, r"the field 'messages\[0\].role' is no role\n  got:      'human'"),
        ("demonstrations", {"messages": [said("user"), said("assistant", 3)]}, r"messages\[1\].content' holds no text\n  got:      3"),
        ("demonstrations", {"messages": [said("user"), {"role": "assistant"}]}, r"\[1\].content' holds no text\n  got:      nothing"),
        ("demonstrations", {"messages": [said("user"), said("user")]}, "out of order\n  got:      user user"),
        ("demonstrations", {"messages": [said("user"), said("system")]}, "out of order\n  got:      user system"),
        ("demonstrations", {"messages": [said("assistant")]}, "out of order"),
        ("demonstrations", {"messages": [said("system")]}, "out of order"),
        ("demonstrations", {"messages": ASKED}, "does not end with the assistant"),
        ("demonstrations", {"prompt": "Hi"}, "no form of demonstration\n  got:      fields prompt"),
        ("demonstrations", {"prompt": "Hi", "completion": " "}, "the field 'completion' holds no text"),
        ("demonstrations", {"instruction": None, "output": "x"}, "no form of demonstration"),
        ("demonstrations", {"id": [1], "messages": TALK}, "the field 'id' is no name"),
        ("preferences", {"prompt": "Hi", "chosen": "a"}, "the field 'rejected' holds no text\n  got:      nothing"),
        ("preferences", {"prompt": "Hi", "chosen": "a", "rejected": "a"}, "are the same text"),
        ("preferences", {"chosen": "a", "rejected": "b"}, "there is no prompt"),
        ("preferences", {"chosen": TALK, "rejected": [said("user", "Yo"), said("assistant")]}, "different conversations"),
        ("prompts", {"prompt": 3}, "the field 'prompt' is no conversation\n  got:      3"),
        ("prompts", {"messages": TALK}, "does not end with the user"),
        ("prompts", {"question": "Hi"}, "there is no prompt\n  got:      fields question"),
        ("questions", {"question": "?", "choices": ["a"], "answer": 0}, "'choices' is no list of texts"),
        ("questions", {"question": "?", "choices": ["a", "b"], "answer": 2}, "'answer' points at no choice"),
        ("questions", {"question": "?", "choices": ["a", "b"], "answer": True}, "'answer' points at no choice"),
        ("passages", {"text": ""}, "the field 'text' holds no text"),
        ("paraphrases", {"prompts": ["a", 1]}, r"prompts\[1\]' holds no text"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_place_and_field(read, row, message):
    with pytest.raises(DataError, match=rf"(?s)^f.jsonl, line 3: .*{message}"):
        getattr(rows, f"as_{read}")(one(row))


def test_ids_are_unique_and_do_not_depend_on_order():
    with pytest.raises(DataError, match="line 2: the id 'x' was used before\n  got:      also at a, line 1"):
        rows.as_prompts([("a, line 1", {"id": "x", "prompt": "1"}), ("a, line 2", {"id": "x", "prompt": "2"})])
    first, second = ("a, line 1", {"prompt": "1"}), ("a, line 2", {"prompt": "2"})
    forward = {sample.prompt: sample.id for sample in rows.as_prompts([first, second])}
    assert forward == {sample.prompt: sample.id for sample in rows.as_prompts([second, first])}
    assert len({sample.id for sample in rows.as_prompts([first, first])}) == 2


def test_nothing_to_read():
    with pytest.raises(DataError, match="nothing to read"):
        rows.as_prompts([])


def test_an_unreachable_hub_is_told(monkeypatch):
    import huggingface_hub

    def fail(*_args, **_options):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", fail)
    with pytest.raises(StorageError, match="hub could not be reached for the data set 'org/name'"):
        list(rows.read("org/name:test"))


def test_hub_files_of_a_split(monkeypatch, tmp_path):
    import huggingface_hub
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"prompt": "Hi"}]), tmp_path / "x.parquet")
    listed = ["README.md", "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"]
    fetched = []
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *_a, **_k: listed)
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda _n, file, **_k: fetched.append(file) or tmp_path / "x.parquet"
    )
    assert [row for _, row in rows.read("org/name")] == [{"prompt": "Hi"}]
    assert [row for _, row in rows.read("org/name:test")] == [{"prompt": "Hi"}]
    assert fetched == listed[1:]
    with pytest.raises(MissingError, match="no Parquet files of a split 'dev'"):
        list(rows.read("org/name:dev"))
    listed[:] = ["en/train/0.parquet", "fr/train/0.parquet"]
    with pytest.raises(DataError, match="several configurations\n  expected: one configuration of: en, fr"):
        list(rows.read("org/name"))
    assert len(list(rows.read("org/name:fr/train"))) == 1


def test_roles_may_start_with_a_system_turn():
    talk = conversation(("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"))
    (made,) = rows.as_demonstrations(one({"messages": as_json(talk)}))
    assert made.messages == talk
