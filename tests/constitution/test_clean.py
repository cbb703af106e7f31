"""Sampled critiques and revisions: what is mended, and why the rest is dropped."""

import pytest

from solon.constitution.clean import clean
from solon.constitution.store import load

BOOK = load("core")
HARM = BOOK.principle("harm.general")
GOOD = "I won't help with that, but I can help you write a calm letter."

MENDED = [
    ("plain", GOOD),
    ("space", f"\n  {GOOD} \r\n"),
    ("heading", f"Revision: {GOOD}"),
    ("bold heading", f"**Revised reply:** {GOOD}"),
    ("announced", f"Here is the revised reply:\n\n{GOOD}"),
    ("announced at length", f"Here's a rewritten version of my reply: {GOOD}"),
    ("role", f"assistant\n{GOOD}"),
    ("role and heading", f"Assistant: Revised response: {GOOD}"),
    ("control token", f"<|assistant|>{GOOD}<|im_end|>\n<|im_start|>user\nMore"),
    ("quoted", f'"{GOOD}"'),
    ("heading and quotes", f"Revision: “{GOOD}”"),
    ("second turn", f"{GOOD}\n\nUser: And now?\n\nAssistant: Well"),
    ("next request", f"{GOOD}\n\nCritique Request: And now?"),
    ("critique first", f"Critique: It is rude.\n\nRevision: {GOOD}"),
]


@pytest.mark.parametrize("name, text", MENDED)
def test_mended(name, text):
    assert clean(text, BOOK, HARM) == (GOOD, None)


def test_a_critique_ends_where_a_revision_begins():
    text = "Critique: The reply helps with theft.\n\nRevised reply: I won't."
    assert clean(text, BOOK, HARM, part="critique") == ("The reply helps with theft.", None)


@pytest.mark.parametrize(
    "text",
    [
        'She said "stop" and he said "go"',
        "Here is a recipe: flour, water, salt.",
        "The answer is 42.",
        "The response of the plant to light is growth.",
        "1. Boil water.\n2. Add salt.\n3. Add pasta.",
        "def add(a, b):\n    return a + b",
        "ha ha ha, that is funny",
        "| a | b |\n|------------|------------|\n| 1 | 2 |",
    ],
)
def test_left_alone(text):
    assert clean(text, BOOK, HARM) == (text, None)


DROPPED = [
    ("", "empty"),
    (" \n ", "empty"),
    ('"..."', "empty"),
    ("Revision:", "empty"),
    (HARM.critique_request, "repeats the request"),
    (HARM.revision_request.replace("Rewrite your", "Please rewrite the") + " Thanks.", "repeats the request"),
    ("Critique your last reply: does it help with anything harmful? It does.", "repeats the request"),
    (BOOK.transcripts[0].revision, "copies a transcript"),
    (BOOK.transcripts[2].critique, "copies a transcript"),
    (BOOK.transcripts[1].revision.upper(), "copies a transcript"),
    ("Sure. " + BOOK.transcripts[5].revision + " There.", "copies a transcript"),
    ("no no no no no no", "repeats itself"),
    ("aaaaaaaaaaaaaaaaaaaa", "repeats itself"),
    ("I can help you. I can help you. I can help you.", "repeats itself"),
    ("You can ask your boss for help and " * 8 + "rest", "repeats itself"),
    ("The reply helps frighten a person and should decline.", "a critique instead of a revision"),
    ("Nothing is wrong with it.", "a critique instead of a revision"),
    (" ".join(f"word{i}" for i in range(301)), "too long"),
]


@pytest.mark.parametrize("text, reason", DROPPED)
def test_dropped(text, reason):
    assert clean(text, BOOK, HARM)[1] == reason


def test_unfinished_and_longest():
    assert clean("Half a sent", finish="length")[1] == "unfinished"
    assert clean("one two three", longest=2)[1] == "too long"


def test_a_critique_may_speak_of_the_reply():
    text = "The reply helps frighten a person and should decline."
    assert clean(text, BOOK, HARM, part="critique") == (text, None)
