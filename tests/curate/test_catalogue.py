"""Sources by name: kinds, licences, hashes, sides, and what is said when something is absent."""

from __future__ import annotations

import gzip
import json

import pytest

from solon.core.errors import ConfigError, DataError, MissingError
from solon.core.records import Demonstration, LabelledPair, Sample
from solon.curate import catalogue


@pytest.fixture
def shared_folder(tmp_path, monkeypatch):
    """A small stand-in for the folder of public data."""

    def put(name: str, rows: list, licence: str = "MIT") -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
        (path.parent / "SOURCE.md").write_text(f"# x\n\n- Licence: {licence}\n")

    dolly = [
        {"id": 0, "instruction": "What is rain?", "response": "Water."},
        {"id": 1, "instruction": "Given this paragraph, who won?", "response": "Nobody."},
    ]
    alpaca = "Below is ...\n\n### Instruction:\nSum up.\n\n### Input:\nLong.\n\n### Response:"
    put("dolly/dolly_no_context_filtered.jsonl.gz", dolly, "CC BY-SA 3.0")
    put("dolly/dolly_151_formatted.jsonl.gz", [{"prompt": alpaca, "answer": "Short.###eos_token###"}], "CC BY-SA 3.0")
    talk = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Steal?\n\nAssistant:"
    pairs = [{"chosen": f"{talk} No.", "rejected": f"{talk} Sure."}, {"chosen": f"{talk} A", "rejected": f"{talk} A"}]
    put("hh_rlhf_harmless/harmless-base-test-dev.jsonl.gz", pairs)
    header = {"subject": "s", "question": "question", "choices": ["choice0", "choice1"], "answer": "answer"}
    put(
        "mmlu/mmlu_dev_5shot.jsonl.gz",
        [header, {"subject": "s", "question": "A?", "choices": ["x", "y"], "answer": "1"}],
    )
    put(
        "mmlu/mmlu_test_sample_dev.jsonl.gz", [{"subject": "s", "question": "B?", "choices": ["x", "y"], "answer": "0"}]
    )
    monkeypatch.setenv("SOLON_DATA", str(tmp_path))
    return tmp_path


def test_starter_sources_say_licence_hash_and_split():
    found = catalogue.source("starter:red_team", "train")
    assert (found.kind, found.licence, len(found.digest)) == ("prompts", "Apache-2.0", 64)
    assert found.parted == "the hash of the text, 45% held out"
    assert all(isinstance(sample, Sample) for sample in found.rows)
    assert len(found) + len(catalogue.prompts("starter:red_team", "heldout")) == len(
        catalogue.prompts("starter:red_team")
    )


def test_shared_sources_become_records(shared_folder):
    found = catalogue.source("shared:dolly")
    assert [row.messages[0].content for row in found.rows] == ["What is rain?", "Sum up.\n\nLong."]
    assert [row.messages[1].content for row in found.rows] == ["Water.", "Short."]
    assert found.licence == "CC BY-SA 3.0"
    (pair,) = catalogue.labelled_pairs("shared:hh_harmless")
    assert isinstance(pair, LabelledPair)
    assert ([turn.content for turn in pair.prompt], pair.chosen, pair.rejected) == (
        ["Hi", "Hello", "Steal?"],
        "No.",
        "Sure.",
    )
    assert catalogue.preferences("shared:hh_harmless")[0].first == "No."


def test_a_split_of_the_authors_is_kept(shared_folder):
    assert [row.question for row in catalogue.multiple_choice("shared:mmlu", "train")] == ["A?"]
    assert [row.question for row in catalogue.multiple_choice("shared:mmlu", "heldout")] == ["B?"]


def test_absent_data_names_the_variable_and_the_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("SOLON_DATA", raising=False)
    with pytest.raises(MissingError, match="(?s)SOLON_DATA is not set.*holds dolly/"):
        catalogue.demonstrations("shared:dolly")
    monkeypatch.setenv("SOLON_DATA", str(tmp_path))
    with pytest.raises(MissingError, match=r"there is no folder .*dolly"):
        catalogue.demonstrations("shared:dolly")
    (tmp_path / "dolly").mkdir()
    with pytest.raises(MissingError, match="(?s)'dolly' lacks a file.*dolly_no_context"):
        catalogue.demonstrations("shared:dolly")


def test_wrong_names_and_kinds():
    with pytest.raises(MissingError, match="did you mean 'benign'"):
        catalogue.prompts("starter:bening")
    with pytest.raises(MissingError, match="did you mean 'dolly'"):
        catalogue.demonstrations("shared:doly")
    with pytest.raises(MissingError, match="did you mean 'starter:red_team'"):
        catalogue.prompts("red_team")
    with pytest.raises(ConfigError, match="(?s)holds prompts, not demonstrations.*starter:demonstrations"):
        catalogue.demonstrations("starter:benign")
    with pytest.raises(DataError, match="no rows on the side 'train'"):
        catalogue.passages("starter:passages", "train")


def test_a_file_is_parted_by_its_own_field_or_by_hash(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"q{n}", "response": "a", "split": "test" if n < 3 else "train"} for n in range(10)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    assert len(catalogue.demonstrations(str(path), "heldout")) == 3
    assert isinstance(catalogue.demonstrations(str(path))[0], Demonstration)
    assert catalogue.source(str(path), kind="demonstrations").parted == "the rows' own field split"
    path.write_text("\n".join(json.dumps({"prompt": f"q{n}"}) for n in range(200)))
    assert 20 <= len(catalogue.prompts(str(path), "heldout")) <= 60
    path.write_text(json.dumps({"prompt": "q", "split": "tset"}))
    with pytest.raises(DataError, match="mine.jsonl, line 1: the field 'split' names no split"):
        catalogue.prompts(str(path))
    with pytest.raises(ConfigError, match="what does .* hold"):
        catalogue.source(str(path))
