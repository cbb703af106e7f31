"""The tree of commands: help, JSON, and one-screen errors with the right exit code."""

from __future__ import annotations

import json

import pytest
import typer

from solon.cli import app, runs
from solon.core.errors import ConfigError


def commands(node, path=()) -> list[tuple[tuple[str, ...], object]]:
    """Every command that can be called, with the words that lead to it."""
    if not hasattr(node, "commands"):
        return [(path, node)]
    return [found for name, inner in node.commands.items() for found in commands(inner, (*path, name))]


ALL = commands(typer.main.get_command(app))


@pytest.mark.parametrize(("path", "command"), ALL, ids=lambda x: " ".join(x) if isinstance(x, tuple) else "")
def test_every_command_has_help_examples_and_json(solon, path, command):
    shown = solon(*path, "--help")
    assert shown.code == 0 and "Examples" in shown.out and f"solon {path[0]}" in shown.out
    options = [option for parameter in command.params for option in parameter.opts]
    assert "--json" in options
    undescribed = [p.name for p in command.params if p.param_type_name == "option" and not p.help]
    assert not undescribed, "options without a word on what they do"


def test_the_commands_of_the_design_exist():
    names = {" ".join(path) for path, _ in ALL}
    assert names >= {
        "align", "chat", "show", "models list", "models pull", "models show", "constitution list", "constitution show",
        "constitution check", "constitution diff", "data list", "data preview", "runs list", "runs show", "runs graph", "runs compare",
        "verify", "trace", "report",
    }  # fmt: skip


def test_a_mistake_is_one_screen_and_exit_code_2(solon):
    shown = solon("models", "pull", "smollm2-135m-instrukt")
    assert shown.code == 2 and not shown.out
    assert shown.err.startswith("error: no model is called") and "to do:" in shown.err and "Traceback" not in shown.err
    assert len(shown.err.splitlines()) < 20


def test_debug_shows_the_traceback_wherever_it_stands():
    from solon.cli import main
    from solon.core.errors import MissingError

    with pytest.raises(MissingError):
        main(["constitution", "show", "nowhere", "--debug"])
    with pytest.raises(SystemExit):  # and the next call is quiet again
        main(["constitution", "show", "nowhere"])


def test_unknown_command_and_option(solon):
    assert solon("algin").code == 2
    assert solon("models", "list", "--jsno").code == 2
    assert solon("show").code == 2


def test_interrupt(solon, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("solon.models.hub.listing", interrupted)
    shown = solon("models", "list")
    assert shown.code == 130 and "run the same command again to go on" in shown.err and not shown.out


def test_version(solon):
    from solon import __version__

    assert solon("--version").out == f"solon {__version__}\n"


def test_models(solon):
    rows = json.loads(solon("models", "list", "--json").out)
    assert {row["name"] for row in rows} >= {"smollm2-135m-instruct", "gemma3-270m"}
    assert "smollm2-135m-instruct" in solon("models", "list").out


def test_shapes_without_weights(solon):
    assert "8,537,680,896" in solon("show", "--abstract", "gemma-7b").out
    value = json.loads(solon("models", "show", "--abstract", "gemma-7b", "--json").out)
    assert value["parameters"] == 8_537_680_896 == sum(row["parameters"] for row in value["weights"])
    shown = solon("show", "--abstract", "gemma-7")
    assert shown.code == 2 and "did you mean 'gemma" in shown.err


@pytest.mark.real
def test_show_reads_a_real_model(solon):
    value = json.loads(solon("show", "smollm2-135m-instruct", "--json").out)
    assert value["parameters"] == 134_515_008 and value["licence"] == "apache-2.0" and value["chat_template"]


def test_constitution(solon, tmp_path):
    assert {"name", "hash", "principles"} <= set(json.loads(solon("constitution", "list", "--json").out)[0])
    book = json.loads(solon("constitution", "show", "core", "--json").out)
    first = book["principles"][0]["id"]
    assert first in solon("constitution", "show", "core").out
    assert json.loads(solon("constitution", "show", "core", first, "--json").out)["id"] == first
    assert solon("constitution", "check", "core").out.splitlines()[-1].startswith("core ")
    assert json.loads(solon("constitution", "diff", "core", "core", "--json").out) == []
    empty = tmp_path / "empty.yaml"
    empty.write_text("name: x\nversion: '1'\ndescription: d\nlicence: CC0-1.0\nprinciples: []\n")
    shown = solon("constitution", "check", empty)
    assert shown.code == 2 and "at least one principle" in shown.err


def test_data(solon, tmp_path):
    assert {"name": "starter:demonstrations", "kind": "demonstrations"} in json.loads(solon("data", "list", "--json").out)
    shown = solon("data", "preview", "starter:nothing", "--model", "smollm2-135m-instruct")
    assert shown.code == 2 and "Traceback" not in shown.err


@pytest.mark.real
def test_data_preview_marks_what_is_learned(solon):
    arguments = ("data", "preview", "starter:demonstrations", "--model", "smollm2-135m-instruct", "--rows", 1)
    shown = solon(*arguments)
    assert shown.code == 0 and "⟦" in shown.out and "by role" in shown.out
    value = json.loads(solon(*arguments, "--json").out)
    assert len(value["shown"]) == 1 and value["learned"]["assistant"] == value["tokens"]["assistant"]


def test_outline_is_readable():
    lines = runs.outline({"a": 1.23456, "b": {"c": [1, {"d": None, "e": "x\ny"}]}, "f": []})
    assert lines == ["a: 1.235", "b:", "  c:", "    - 1", "    - d:", "      e: x\n        y", "f: "]


def test_errors_never_lose_their_way_out(solon, monkeypatch):
    def wrong():
        raise ConfigError("what is wrong", got=1, expected=2, fix="do that")

    monkeypatch.setattr("solon.models.hub.listing", wrong)
    assert solon("models", "list").err == "error: what is wrong\n  got:      1\n  expected: 2\n  to do:    do that\n"
