"""Chat: turns, commands, pipes, stop strings, and a model's text that cannot steer the terminal."""

from __future__ import annotations

import io
import json
import sys
import types

import pytest

from solon.cli import chat
from solon.core.errors import MissingError


@pytest.fixture
def tiny(monkeypatch, tiny_model):
    """The name `tiny` stands for the random model."""

    def resolve(name, store, quantise="none"):
        if name != "tiny":
            raise MissingError(f"no model is called {name!r}")
        return tiny_model

    monkeypatch.setitem(sys.modules, "solon.stages.models", types.SimpleNamespace(resolve=resolve))
    return tiny_model


def talk(model, **settings) -> chat.Talk:
    from solon.generate.engine import Engine

    plan = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0} | settings
    return chat.Talk(Engine(model, slots=1), model.tokenizer, 12, 0, plan)


def test_turns_accumulate_and_repeat(tiny):
    one, two = talk(tiny), talk(tiny)
    first = ["".join(one.reply("hello")), "".join(one.reply("more"))]
    assert [turn.role for turn in one.turns] == ["user", "assistant"] * 2
    assert first == ["".join(two.reply("hello")), "".join(two.reply("more"))]
    one.system("Be kind.")
    "".join(one.reply("x"))
    one.reset()
    assert [turn.role for turn in one.turns] == ["system"]


def test_streamed_text_is_the_sampled_text(tiny):
    from solon.core.records import user
    from solon.generate.engine import Request
    from solon.text.template import encode_chat

    one = talk(tiny)
    streamed = "".join(one.reply("hello"))
    request = Request(encode_chat(tiny.tokenizer, user("hello"), True), ("chat", 0), max_tokens=12)
    assert streamed == one.engine.sample([request])[0].text


def test_pipe(solon, tiny, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi\n\n/system Be brief.\nwho are you?\n/exit\nnever asked\n"))
    shown = solon("chat", "tiny", "--max-tokens", 4, "--json")
    assert shown.code == 0
    decoder, text, found = json.JSONDecoder(), shown.out, []
    while text.strip():
        value, end = decoder.raw_decode(text.lstrip())
        found.append(value)
        text = text.lstrip()[end:]
    assert [value["prompt"] for value in found] == ["hi", "who are you?"] and all(v["tokens"] <= 4 for v in found)
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi\n"))
    plain = solon("chat", "tiny", "--max-tokens", 4)
    assert plain.code == 0 and "\x1b" not in plain.out


def test_a_prompt_too_long_leaves_the_conversation(solon, tiny, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("word " * 2000 + "\n"))
    shown = solon("chat", "tiny")
    assert shown.code == 2 and "context" in shown.err and "Traceback" not in shown.err


def test_terminal(solon, tiny, monkeypatch):
    lines = iter(["/help", "hi", "/reset", "word " * 2000, "bye"])

    def typed(prompt):
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr("builtins.input", typed)
    shown = solon("chat", "tiny", "--max-tokens", 3)
    assert shown.code == 0 and "no longer fits" in shown.err and "forgotten" in shown.err and shown.err.count("tok/s") == 2


def test_unknown_model(solon, tiny):
    assert solon("chat", "nobody").code == 2


def test_gate_stops_at_a_stop_string_cut_anywhere():
    text = "Paris.\n\nUser: and\n"
    for cut in range(len(text)):
        gate = chat._Gate(("\n\nUser:",))
        shown = gate.push(text[:cut])
        shown += "" if gate.closed else gate.push(text[cut:])
        assert shown + gate.finish() == "Paris." and gate.closed
    gate = chat._Gate(("\n\nUser:",))
    assert gate.push("a\n\nUs") == "a" and gate.push("age") == "\n\nUsage" and not gate.closed


def test_control_characters_of_a_model_are_shown_not_obeyed(capsys):
    chat._print(iter([" \n", " hi\x1b[2J", "\x07 there"]))
    assert capsys.readouterr().out == "hi\ufffd[2J\ufffd there\n"


def test_a_reply_that_is_broken_off_stays_as_far_as_it_came(solon, tiny, monkeypatch):
    from solon.generate.engine import Engine

    def stream(self, request, seed=0):
        yield self.tokenizer.encode("half a")
        raise KeyboardInterrupt

    lines = iter(["hi", "/exit"])
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    monkeypatch.setattr(Engine, "stream", stream)
    shown = solon("chat", "tiny")
    assert shown.code == 0 and "half a" in shown.out and "broken off" in shown.err
    one = talk(tiny)
    with pytest.raises(KeyboardInterrupt):
        "".join(one.reply("hi"))
    assert [turn.content for turn in one.turns] == ["hi", "half a"]
