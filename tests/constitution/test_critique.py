"""What a model is shown: turns alternate, and everything before the judged conversation is the same for all."""

import pytest

from solon.constitution.critique import critique_conversation
from solon.constitution.revise import direct_revision_conversation, revision_conversation
from solon.constitution.store import load
from solon.core.records import Message, conversation, user

BOOK = load("core")
HARM = BOOK.principle("harm.general")
TRUTH = BOOK.principle("honesty.truth")
LONG = conversation(("user", "one"), ("assistant", "two"), ("user", "three"))


def roles(turns):
    return [turn.role for turn in turns]


def test_critiques_of_a_book_share_their_beginning():
    made = [
        critique_conversation(BOOK, prompt, reply, one)
        for prompt, reply, one in [(user("a"), "b", HARM), (user("c"), "d", TRUTH), (LONG, "e", HARM)]
    ]
    shared = 6 * len(BOOK.transcripts)
    assert all(turns[:shared] == made[0][:shared] for turns in made)
    assert len({turns[shared] for turns in made}) == 3
    assert made[0][shared:] == (*user("a"), Message("assistant", "b"), Message("user", HARM.critique_request))
    assert made[2][shared:-2] == LONG


def test_turns_alternate_and_end_with_the_user():
    for turns in (
        critique_conversation(BOOK, LONG, "r", HARM),
        revision_conversation(BOOK, LONG, "r", HARM, "c"),
        direct_revision_conversation(BOOK, LONG, "r", HARM),
    ):
        assert roles(turns) == ["user", "assistant"] * (len(turns) // 2) + ["user"]


def test_a_revision_goes_on_from_its_critique():
    critique = critique_conversation(BOOK, user("a"), "b", HARM)
    revision = revision_conversation(BOOK, user("a"), "b", HARM, "It is rude.")
    assert revision == (*critique, Message("assistant", "It is rude."), Message("user", HARM.revision_request))


def test_the_next_round_forgets_the_critique():
    second = critique_conversation(BOOK, user("a"), "revised", TRUTH)
    assert "It is rude." not in {turn.content for turn in second}
    assert second[-3:] == (*user("a"), Message("assistant", "revised"), Message("user", TRUTH.critique_request))


def test_direct_revision_has_no_critique_anywhere():
    turns = direct_revision_conversation(BOOK, user("a"), "b", HARM)
    said = {turn.content for turn in turns}
    assert not said & {text for one in BOOK.transcripts for text in (one.critique, one.critique_request)}
    assert BOOK.transcripts[0].revision in said and turns[-1].content == HARM.revision_request


def test_the_system_turn_stays_in_front():
    turns = critique_conversation(BOOK, conversation(("system", "s"), ("user", "a")), "b", HARM)
    assert roles(turns)[:2] == ["system", "user"] and roles(turns).count("system") == 1
    assert turns[-3:-1] == conversation(("user", "a"), ("assistant", "b"))


@pytest.mark.parametrize("shots", [0, 2])
def test_shots_keep_the_first(shots):
    turns = critique_conversation(BOOK, user("a"), "b", HARM, shots=shots)
    assert len(turns) == 6 * shots + 3
    assert turns[: 6 * shots] == critique_conversation(BOOK, user("a"), "b", HARM)[: 6 * shots]


def test_shared_turns_are_shared_tokens(tiny_tokenizer):
    from solon.text.template import encode_chat

    made = [
        encode_chat(tiny_tokenizer, critique_conversation(BOOK, user(text), text, one), add_generation_prompt=True)
        for text, one in [("Hello", HARM), ("Quite another one", TRUTH)]
    ]
    few = encode_chat(tiny_tokenizer, critique_conversation(BOOK, user("x"), "y", HARM)[:-3])
    assert all(ids[: len(few)] == few for ids in made)
