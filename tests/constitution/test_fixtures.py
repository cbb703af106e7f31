"""The fixtures that ship: enough of every pillar, varied, no giveaway in length; and files of one's own are read or refused."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest

from solon.constitution import fixtures
from solon.constitution.fixtures import HARMS, SHIPPED, of_book
from solon.constitution.router import DOMAINS
from solon.constitution.store import load as book_of
from solon.core.errors import DataError, MissingError
from solon.curate.duplicates import near_duplicates
from solon.curate.splits import normalised

ALL = fixtures.load()
PILLARS = book_of("core").pillars


@pytest.mark.parametrize("pillar", PILLARS)
def test_every_pillar_has_ten_of_each(pillar):
    own = [one for one in ALL if one.pillar == pillar]
    assert len(own) >= 20
    assert all(one.keeps != one.breaks for one in own)


def test_they_are_about_principles_of_the_book_and_nothing_else():
    assert of_book(ALL, book_of("core")) == ALL
    assert len({one.id for one in ALL}) == len(ALL)
    card = (SHIPPED / "fixtures.md").read_text("utf-8")
    counts = Counter(one.pillar for one in ALL)
    assert f"{len(ALL)} English requests" in card and f"{2 * len(ALL)} labelled" in card.replace("\n  ", " ")
    assert all(f"{pillar} {count}" in card.replace("\n  ", " ") for pillar, count in counts.items())


def test_finer_labels_that_rows_ask_for():
    harm = Counter(one.kind for one in ALL if one.pillar == "harm")
    assert set(harm) == set(HARMS) and min(harm.values()) >= 10
    principles = Counter(one.principle for one in ALL)
    assert min(principles[id] for id in ("honesty.truth", "autonomy.pressure", "fairness.groups", "coding.secure")) >= 10
    assert {one.kind for one in ALL if one.principle == "autonomy.pressure"} == {"coercive", "manipulative"}
    assert all(one.kind for one in ALL if one.pillar == "fairness")
    assert sum(one.kind == "diagnosis" for one in ALL) >= 10


def test_a_domains_own_requests_belong_to_it():
    assert all(one.pillar in one.domains for one in ALL if one.pillar in DOMAINS)
    assert sum(not one.domains for one in ALL) >= 60


def test_hardly_any_near_duplicates_and_no_templates():
    assert len(near_duplicates([one.prompt for one in ALL])) < 0.01 * len(ALL)
    replies = list(chain.from_iterable((one.keeps, one.breaks) for one in ALL))
    assert len(near_duplicates(replies)) < 0.01 * len(replies)
    starts = Counter(" ".join(normalised(text).split()[:5]) for text in (*replies, *(one.prompt for one in ALL)))
    assert starts.most_common(1)[0][1] <= 4


def test_no_request_is_also_shown_to_a_judge_as_an_example():
    book = book_of("core")
    shown = [one.request for one in book.transcripts] + [one.prompt for one in book.comparisons]
    assert not near_duplicates([*shown, *(one.prompt for one in ALL)])


def test_length_gives_nothing_away():
    longer = Counter(one.pillar for one in ALL if len(one.keeps.split()) > len(one.breaks.split()))
    share = {pillar: longer[pillar] / sum(one.pillar == pillar for one in ALL) for pillar in PILLARS}
    assert all(0.3 <= value <= 0.7 for value in share.values()), share
    assert 0.45 <= longer.total() / len(ALL) <= 0.6


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("- {id: a, principle: medical.care, prompt: p, keeps: k, breaks: b}\n")
    (one,) = fixtures.load(path)
    assert one.pillar == "medical" and one.domains == ("medical",)
    labelled = one.labelled(book_of("core"))
    assert (labelled.better, labelled.worse, labelled.kind, labelled.principle.id) == ("k", "b", "medical", "medical.care")


WRONG = [
    ("- {id: a, principle: medical.care, prompt: p, keeps: k, brakes: b}", ["mine.yaml, fixture 'a'", "'brakes' meant as 'breaks'"]),
    ("- {principle: medical.care}", ["fixture 1", "'id'"]),
    ("- {id: a, principle: care, prompt: p, keeps: k, breaks: b}", ["'principle'"]),
    ("- {id: a, principle: x.y, prompt: p, keeps: k, breaks: b, domains: [medicine]}", ["domains.0", "mean 'medical'"]),
    ("- {id: a, principle: x.y, prompt: p, keeps: k, breaks: b}\n" * 2, ["two fixtures have the id 'a'"]),
    ("a: b", ["not a list of fixtures"]),
    ("- [", ["not valid YAML"]),
]


@pytest.mark.parametrize("text, said", WRONG)
def test_what_cannot_be_read_is_named(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        fixtures.load(path)
    assert all(words in str(error.value) for words in said), error.value


def test_no_file_and_no_fixture_of_the_book():
    with pytest.raises(MissingError, match="no file of fixtures"):
        fixtures.load("nowhere.yaml")
    strange = [one.model_copy(update={"principle": "cooking.salt"}) for one in ALL[:2]]
    with pytest.raises(DataError, match="no fixture is about a principle of the book 'core'"):
        of_book(strange, book_of("core"))
