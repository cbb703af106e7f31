"""Mistakes that a user can make: each is told on one screen, before anything is made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

NO_PREFIX = "{% for m in messages %}{{ loop.length }}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"


@pytest.fixture
def refused(solon, tmp_path):
    """Run a recipe that must be refused; gives the message."""

    def call(content, *overrides: str, runs: Path | None = None) -> str:
        path = content
        if isinstance(content, dict):
            path = tmp_path / "wrong.yaml"
            path.write_text(yaml.safe_dump(content))
        place = runs or tmp_path / "runs"
        shown = solon("align", path, *overrides, "--runs", place)
        assert shown.code == 2, shown.err
        assert "Traceback" not in shown.err and 1 <= len(shown.err.splitlines()) <= 24 and len(shown.err) < 2000
        assert shown.out == ""
        if place.is_dir():
            assert not list(place.rglob("evidence.json")) and not list(place.rglob("run.json"))
        return shown.err

    return call


def test_unknown_key(refused, recipe_file):
    assert "unknown key 'helpful.rnak'" in (said := refused(recipe_file, "helpful.rnak=3")) and "'rank'" in said
    assert "did you mean 'revise'?" in refused(recipe_file, "revize.rounds=3")


@pytest.mark.parametrize(("change", "said"), [
    ("pairs.pillars={red_team: [harmm]}", ("pairs.pillars.red_team", "'harm'")), ("revise.pillars=[harn]", ("revise.pillars", "'harm'")),
    ("sl.principle_weights={harm.generl: 2}", ("sl.principle_weights", "'harm.general'")),
    ("sl.token_weights={two of them: 2}", ("'two of them'", "one token")),
])  # fmt: skip
def test_names_that_a_late_stage_would_miss(refused, recipe_file, change, said):
    told = refused(recipe_file, change)
    assert all(one in told for one in said), told


def test_settings_outside_of_the_specification_are_told_in_one_line_at_the_start(refused, recipe_file):
    lines = refused(recipe_file, "helpful.rank=4096", "sl.rank=4096", "dpo.rank=4096").splitlines()
    assert lines[0].startswith("helpful, sl, dpo: some settings lie outside")
    assert not any("lie outside" in line for line in lines[1:])


@pytest.mark.parametrize("section", ["helpful", "sl", "dpo"])
def test_impossible_rank(refused, recipe_file, section):
    said = refused(recipe_file, f"{section}.rank=4096")
    assert f"{section}.rank" in said and "4096" in said and "1 to 32" in said


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ["holds no rows"]),
        (["", "  "], ["holds no rows"]),
        (['{"prompt": "Hello"}', "{oh"], ["line 2", "not valid JSON"]),
        (['{"prompt": "Hello"}', '{"promt": "Hello"}'], ["line 2", "prompt"]),
        (['{"prompt": "Hello"}', '{"prompt": ""}'], ["line 2", "'prompt'", "holds no text"]),
        (['{"prompt": "Hello"}', "[1, 2]"], ["line 2", "not an object"]),
    ],
)
def test_data_lines(refused, recipe_file, tmp_path, lines, words):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    said = refused(recipe_file, f"data.red_team={path}")
    assert all(word in said for word in ["mine.jsonl", *words]), said


def test_training_rows_that_are_held_out_too(refused, recipe_file, tmp_path):
    path = tmp_path / "same.jsonl"
    rows = [{"id": n, "prompt": "The very same request, again and again", "split": s} for n, s in enumerate(("train", "test"))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = refused(recipe_file, f"data.red_team={path}")
    assert "same.jsonl" in said and "near held-out rows" in said


def test_cut_safetensors(refused, recipe_of, model_folder, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(model_folder, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    assert "model.safetensors is cut short or damaged" in refused(recipe_of(folder))


def test_cut_gguf(refused, recipe_of, tmp_path):
    import gguf
    import numpy as np

    path = tmp_path / "cut.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((64, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for share in (0.9, 0.05):
        short = tmp_path / f"cut-{share}.gguf"
        short.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        assert short.name in refused(recipe_of(short))


def test_no_such_model(refused, recipe_of, tmp_path):
    assert "no model" in refused(recipe_of(tmp_path / "nowhere"))


def test_book_without_principles(refused, recipe_of, model_folder, tmp_path):
    book = tmp_path / "empty.yaml"
    book.write_text("name: empty\nversion: 1.0.0\ndescription: none\nlicence: CC0\nprinciples: []\n")
    said = refused(recipe_of(model_folder) | {"constitution": str(book)})
    assert "empty" in said and "principle" in said


def test_prompt_longer_than_the_context(refused, recipe_file, tmp_path):
    path = tmp_path / "long.jsonl"
    rows = [{"id": f"long-{n}", "prompt": f"{n} " + f"word{n} " * 900, "split": s} for n, s in enumerate(("train", "test"))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = refused(recipe_file, f"data.red_team={path}")
    assert "long.jsonl" in said and "'long-0'" in said and "4096 in all" in said


def test_template_without_assistant_marks(refused, recipe_of, model_writer, tmp_path):
    said = refused(recipe_of(model_writer(tmp_path / "odd", template=NO_PREFIX)))
    assert "marks no assistant turns" in said and "generation" in said


def test_missing_recipe(refused, tmp_path):
    assert "there is no file" in refused(tmp_path / "nowhere.yaml")


def test_recipe_that_is_a_folder(refused, tmp_path):
    assert str(tmp_path) in refused(tmp_path)


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "", "model: {\xff}"])
def test_recipe_that_is_no_mapping(refused, tmp_path, text):
    path = tmp_path / "odd.yaml"
    path.write_bytes(text.encode("latin-1"))
    assert "odd.yaml" in refused(path)


def test_runs_folder_that_cannot_be_written(refused, recipe_file, tmp_path):
    """A file in its place: root may write everywhere, so permissions would not show it."""
    (tmp_path / "taken").write_text("")
    for place in (tmp_path / "taken", tmp_path / "taken" / "runs"):
        said = refused(recipe_file, runs=place)
        assert "taken" in said and "--runs" in said
