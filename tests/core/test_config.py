"""Recipes: what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from solon.core.config import Config, build, override, read_yaml
from solon.core.errors import ConfigError, MissingError


class Part(Config):
    rank: int = Field(16, ge=1)
    learning_rate: float = 5e-4


class Recipe(Config):
    model: str
    finetune: Part = Part()
    maybe: Part | None = None
    parts: tuple[Part, ...] = ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"modle": "x"}, ["r.yaml: unknown key 'modle'; did you mean 'model'?", "the key 'model' is missing"]),
        ({"model": "x", "finetune": {"rnak": 2}}, ["unknown key 'finetune.rnak'; did you mean 'rank'?"]),
        ({"model": "x", "maybe": {"learning_rat": 2}}, ["unknown key 'maybe.learning_rat'; did you mean 'learning_rate'?"]),
        ({"model": "x", "parts": [{"rang": 2}]}, ["unknown key 'parts.0.rang'; did you mean 'rank'?"]),
        ({"model": "x", "zzz": 1}, ["unknown key 'zzz'; known: finetune, maybe, model, parts"]),
        ({"model": "x", "finetune": {"rank": 0}}, ["finetune.rank: Input should be greater than or equal to 1", "got:      0"]),
        ({"model": "x", "finetune": {"rank": "many"}}, ["finetune.rank", "got:      'many'"]),
    ],
)
def test_a_wrong_key_or_value_is_named(content: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        build(Recipe, content, "r.yaml")
    assert all(word in str(error.value) for word in words), str(error.value)


def test_configurations_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        build(Recipe, {"model": "x"}, "r").model = "y"  # type: ignore[misc]


def test_overrides_reach_into_sections_and_are_read_as_yaml() -> None:
    given = ["finetune.rank=32", "finetune.learning_rate=1e-3", "model=a=b", "parts=[{rank: 2}]", "maybe=null"]
    content = override({"model": "x", "finetune": {"rank": 8}}, given)
    recipe = build(Recipe, content, "r")
    assert recipe == Recipe(model="a=b", finetune=Part(rank=32, learning_rate=1e-3), parts=(Part(rank=2),))
    assert override({}, ["a.b.c=1"]) == {"a": {"b": {"c": 1}}}


@pytest.mark.parametrize(
    ("assignment", "word"),
    [("rank", "form key=value"), ("model.rank=3", "'model' of 'model.rank' holds a value"), ("model=[1", "'model' is not valid YAML")],
)
def test_a_wrong_override_is_named(assignment: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word.replace("[", r"\[")):
        override({"model": "x"}, [assignment])


@pytest.mark.parametrize(
    ("text", "word"),
    [(b"a: [1", "not valid YAML"), (b"\xff\xfe\x00", "not valid YAML"), (b"- 1", "not a YAML mapping"), (b"", "not a YAML mapping"),
     (b"a: !!python/object/apply:os.getcwd []", "not valid YAML")],
)  # fmt: skip
def test_a_bad_file_is_named(tmp_path: Path, text: bytes, word: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=rf"r\.yaml is {word}"):
        read_yaml(path)


def test_a_file_is_read_or_missed(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("model: é\nfinetune: {rank: 2}\n", encoding="utf-8")
    assert read_yaml(tmp_path / "r.yaml") == {"model": "é", "finetune": {"rank": 2}}
    for missing in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(MissingError, match="there is no file"):
            read_yaml(missing)
