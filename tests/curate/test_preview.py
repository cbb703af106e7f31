"""A preview shows which tokens are learned, counts them by role, and says what would go wrong."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from solon.core.records import Demonstration, LabelledPair, Passage, Sample, conversation, user
from solon.curate import catalogue
from solon.curate import preview as module
from solon.curate.catalogue import Source
from solon.curate.preview import preview, renderable
from solon.text.template import DEFAULT_TEMPLATE, Tokens
from solon.text.tokenizer import BYTE_OF_CHARACTER, Tokenizer

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TALK = conversation(("system", "Be kind."), ("user", "Yo!"), ("assistant", "Yo!"), ("user", "?"), ("assistant", "Ök"))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A token a byte, and three control tokens."""
    letters = sorted(BYTE_OF_CHARACTER, key=BYTE_OF_CHARACTER.__getitem__)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters]
    return Tokenizer.from_gguf(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "smollm",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [3, 3, 3] + [1] * (len(tokens) - 3),
            "tokenizer.ggml.merges": [],
            "tokenizer.ggml.bos_token_id": 0,
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.chat_template": CHATML,
        }
    )


def source(kind: str, *rows) -> Source:
    return Source("mine", kind, "all", "MIT", "0" * 64, "by hash", rows)


@pytest.mark.parametrize("template", [CHATML, DEFAULT_TEMPLATE])
def test_counts_by_role_and_learns_the_assistant_only(tokenizer, template):
    seen = preview(source("demonstrations", Demonstration("d", TALK)), tokenizer.with_template(template))
    said = {"system": 8, "user": 4, "assistant": 6}
    spaces = 2 if template == DEFAULT_TEMPLATE else 0  # its assistant turns begin with a space, which is no message's
    assert {role: count for role, count in seen.tokens.items() if role != "marks"} == said
    assert seen.learned == {"assistant": 6, "marks": 2 + spaces}
    assert [seen.coverage(role) for role in ("system", "user", "assistant")] == [0, 0, 1]
    assert seen.problems == []
    assert [text.strip() for text, learn in seen.shown[0].runs if learn] == ["Yo!<|im_end|>", "Ök<|im_end|>"]


def test_says_what_would_be_cut_or_left_with_nothing(tokenizer):
    rows = [Demonstration("a", TALK), Demonstration("b", conversation(("user", "x" * 90), ("assistant", "y")))]
    seen = preview(source("demonstrations", *rows), tokenizer, length=60, show=1)
    assert (seen.cut, seen.silent, len(seen.shown)) == (2, 1, 1)
    assert seen.cut_tokens == seen.longest - 60 + seen.shown[0].tokens - 60
    assert sum(seen.lengths.values()) == 2
    assert len(seen.problems) == 2


def test_a_wrong_mask_shows(tokenizer, monkeypatch):
    def all_learned(*arguments):
        tokens = original(*arguments)
        return Tokens(tokens.ids, [True] * len(tokens))

    original = module.encode_training
    monkeypatch.setattr(module, "encode_training", all_learned)
    seen = preview(source("demonstrations", Demonstration("d", TALK)), tokenizer)
    assert seen.coverage("user") == 1
    assert seen.problems[:2] == ["8 tokens of the system would be learned", "4 tokens of the user would be learned"]


def test_every_kind_can_be_shown(tokenizer):
    pair = LabelledPair("p", user("Hi"), "Yes", "No", "kind")
    seen = preview(source("labelled_pairs", pair), tokenizer)
    assert [row.id for row in seen.shown] == ["p chosen", "p rejected"]
    assert seen.learned["assistant"] == 5
    seen = preview(source("prompts", Sample("s", user("Hi"))), tokenizer)
    assert (seen.learned, seen.shown[0].runs[0][0]) == ({}, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert preview(source("passages", Passage("t", "Hello")), tokenizer).tokens == {"text": 5}
    for name in catalogue.names():
        if name.startswith("starter:"):
            found = catalogue.source(name)
            assert preview(replace(found, rows=found.rows[:5]), tokenizer).unplaced == 0


def test_is_shown_with_marks_and_without_commands_to_the_terminal(tokenizer):
    talk = conversation(("user", "\x1b[31m[bold]"), ("assistant", "Hello"))
    seen = preview(source("demonstrations", Demonstration("d", talk)), tokenizer, length=20)
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(renderable(seen))
    shown = console.file.getvalue()
    assert "⟦Hello<|im_end|>⟧" in shown
    assert "\u241b[31m[bold]" in shown
    assert "\x1b" not in shown
    assert "would be cut" in shown
    assert "licence MIT" in shown
