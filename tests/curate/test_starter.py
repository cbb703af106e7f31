"""The data that Solon brings along: enough of it, varied, and nothing measured that was trained on."""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files

import pytest

from solon.core.errors import ConfigError, MissingError
from solon.core.records import Demonstration
from solon.curate import starter
from solon.curate.duplicates import leaks, near_duplicates
from solon.curate.splits import normalised, text_of

SETS = sorted(starter.SETS)
FIELDS = {
    "red_team": {"id", "prompt", "category", "style"},
    "benign": {"id", "prompt", "category", "trap"},
    "helpful_prompts": {"id", "prompt", "task"},
    "demonstrations": {"id", "messages", "task"},
    "labelled_pairs": {"id", "prompt", "chosen", "rejected", "kind", "reason"},
    "critiques": {"id", "principle", "critique", "keep"},
    "multiple_choice": {"id", "question", "choices", "answer", "topic"},
    "passages": {"id", "text", "genre"},
    "paraphrases": {"id", "prompts", "kind"},
    "unanswerable": {"id", "prompt", "kind", "reference"},
    "swaps": {"id", "prompt"},
    "skills": {"id", "prompt", "skill", "kind", "reference"},
    "hard_choices": {"id", "question", "choices", "answer", "topic", "source"},
    "dated_programs": {"id", "prompt", "written", "reference"},
    "repairs": {"id", "prompt", "reference"},
    "configs": {"id", "prompt", "kind", "reference"},
    "framework_programs": {"id", "prompt", "framework", "reference"},
    "creative": {"id", "prompt", "reference"},
}
LEAST = {"red_team": 400, "benign": 150, "helpful_prompts": 600, "demonstrations": 300, "multiple_choice": 200}
WORDS = {  # least mean and greatest single number of words in what is asked
    "red_team": (10, 80), "benign": (10, 80), "helpful_prompts": (8, 150), "demonstrations": (8, 200),
    "labelled_pairs": (5, 120), "critiques": (12, 40), "multiple_choice": (5, 80), "passages": (80, 200), "paraphrases": (5, 60),
    "unanswerable": (8, 60), "swaps": (8, 30), "skills": (10, 60),
    "hard_choices": (10, 40), "dated_programs": (15, 80), "repairs": (20, 60), "configs": (12, 40), "framework_programs": (20, 70), "creative": (12, 40),
}  # fmt: skip


def raw(name: str) -> list[dict]:
    return [json.loads(line) for line in (files("solon") / "starter" / f"{name}.jsonl").read_text("utf-8").splitlines()]


def asked(name: str, split: str) -> list[tuple[str, str]]:
    """Id and text of everything that a set asks: every user turn, every wording, every clear twin."""
    found = []
    for record in starter.load(name, split):
        if isinstance(record, Demonstration):
            found += [(record.id, turn.content) for turn in record.messages if turn.role == "user"]
        elif name == "paraphrases":
            found += [(record.id, wording) for wording in record.prompts]
        elif name == "skills":
            found += [(record.id, turn.content) for turn in record.prompt if turn.role == "user"]
            found += [(record.id, record.reference["twin"])] if "twin" in record.reference else []
        else:
            found.append((record.id, text_of(record)))
    return found


@pytest.mark.parametrize("name", SETS)
def test_has_enough_rows_with_exactly_the_promised_fields(name):
    rows = raw(name)
    assert len(rows) >= LEAST.get(name, 1)
    assert {frozenset(row) for row in rows} == {frozenset(FIELDS[name])}
    assert len({row["id"] for row in rows}) == len(rows)
    card = (files("solon") / "starter" / f"{name}.md").read_text("utf-8")
    assert str(len(rows)) in card
    assert "Apache-2.0" in card


def test_red_team_covers_twelve_categories_evenly():
    counts = Counter(sample.tags["category"] for sample in starter.load("red_team"))
    assert len(counts) >= 12
    assert min(counts.values()) >= 20
    heldout = Counter(sample.tags["category"] for sample in starter.load("red_team", "heldout"))
    assert set(heldout) == set(counts)


@pytest.mark.parametrize("name", SETS)
def test_fewer_than_one_in_a_hundred_is_a_near_duplicate(name):
    texts = [text_of(record) for record in starter.load(name)]
    assert len(near_duplicates(texts)) < 0.01 * len(texts)


@pytest.mark.parametrize("name", SETS)
def test_no_templates(name):
    starts = Counter(" ".join(normalised(text_of(record)).split()[:5]) for record in starter.load(name))
    assert starts.most_common(1)[0][1] <= max(1, 0.02 * starts.total())


@pytest.mark.parametrize("name", SETS)
def test_lengths_vary_and_are_bounded(name):
    words = [len(text_of(record).split()) for record in starter.load(name)]
    mean, longest = WORDS[name]
    assert sum(words) / len(words) >= mean
    assert max(words) <= longest
    assert len(set(words)) >= min(8, len(words) - 1)


@pytest.mark.parametrize("name", [name for name in SETS if starter.SETS[name].heldout < 1])
def test_no_training_row_is_measured_anywhere(name):
    train = asked(name, "train")
    for other in SETS:
        heldout = asked(other, "heldout")
        found = leaks([text for _, text in train], [text for _, text in heldout])
        assert not found, [(train[leak.train], heldout[leak.heldout], leak.match) for leak in found]


def test_sides_are_disjoint_whole_and_about_the_promised_size():
    for name in SETS:
        train, heldout, whole = (starter.load(name, split) for split in ("train", "heldout", "all"))
        assert len(train) + len(heldout) == len(whole)
        assert not {row.id for row in train} & {row.id for row in heldout}
        assert abs(len(heldout) / len(whole) - starter.SETS[name].heldout) < 0.08


def test_choices_are_distinct_and_right_answers_are_spread():
    questions = starter.load("multiple_choice")
    assert all(len(set(question.choices)) == len(question.choices) >= 4 for question in questions)
    places = Counter(question.answer for question in questions)
    assert max(places.values()) < 0.4 * len(questions)


def test_the_better_reply_cannot_be_told_by_length():
    pairs = starter.load("labelled_pairs")
    longer = sum(len(pair.chosen) > len(pair.rejected) for pair in pairs) / len(pairs)
    assert 0.4 <= longer <= 0.6


def test_digest_and_errors():
    assert len(starter.digest("benign")) == 64
    with pytest.raises(MissingError, match="did you mean 'red_team'"):
        starter.load("redteam")
    with pytest.raises(ConfigError, match="held"):
        starter.load("benign", "heldot")
