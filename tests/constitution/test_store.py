"""Constitutions as data: what ships is sound, what a user writes is read or refused with the place named."""

from collections import Counter

import pytest
import yaml
from scipy.stats import chisquare

from solon.constitution.store import BOOKS, applicable, check, diff, draw, load, names
from solon.core.errors import ConfigError, DataError, MissingError


def principle(id="harm.one", **changes):
    fields = {
        "id": id,
        "text": f"The text of {id}.",
        "critique_request": "Critique your last reply.",
        "revision_request": "Rewrite your reply.",
        "comparison_request": "Which reply, (A) or (B), is better?",
        "examples": [{"prompt": "p", "good": "g", "bad": "b"}],
    }
    return {key: value for key, value in {**fields, **changes}.items() if value is not ...}


@pytest.fixture
def write(tmp_path):
    def write(principles, few_shot=None, **header):
        book = {
            "name": "mine",
            "version": "1",
            "description": "d",
            "licence": "MIT",
            "principles": principles,
            **header,
        }
        if few_shot is not None:
            (tmp_path / "few.yaml").write_text(yaml.safe_dump(few_shot))
            book["transcripts"] = "few.yaml"
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(book, sort_keys=False))
        return path

    return write


def test_the_shipped_book_is_sound():
    book = load("core")
    assert names() == ["core"]
    assert check(book) == []
    assert len(book.principles) >= 20
    assert {one.pillar for one in book.principles} == set(book.pillars)
    assert {"help", "harm", "honesty", "autonomy", "privacy", "fairness"} <= set(book.pillars)
    assert len(book.transcripts) == 6 and len(book.comparisons) == 6
    for one in book.principles:
        assert len(one.critique_request.split()) <= 40 and len(one.revision_request.split()) <= 40
        assert "declin" in one.revision_request.lower() or one.id == "harm.selfharm"


def test_the_transcripts_show_what_they_should():
    book = load("core")
    kept = [one for one in book.transcripts if one.reply == one.revision]
    mended = [one for one in book.transcripts if one.principle.startswith("harm.")]
    assert len(kept) >= 2 and all("nothing is wrong" in one.critique.lower() for one in kept)
    assert len(mended) == 3 and all(20 <= len(one.revision.split()) <= 50 for one in mended)
    assert any(one.principle.startswith("honesty.") for one in book.transcripts)
    assert all(len(one.critique.split()) <= 40 and len(one.reply.split()) <= 50 for one in book.transcripts)
    assert book.transcripts[0].critique_request == book.principle("harm.general").critique_request
    first = book.comparisons[0]
    assert first.requests == tuple(book.principle(id).comparison_request for id in first.principles)


def test_hash_is_over_content_not_layout(tmp_path):
    for name in ("core.yaml", "transcripts.yaml"):
        (tmp_path / name).write_text("# another comment\n\n" + (BOOKS / name).read_text())
    copy = load(tmp_path / "core.yaml")
    assert copy.hash == load("core").hash and len(copy.hash) == 12
    changed = (tmp_path / "transcripts.yaml").read_text().replace("Sure! Let her", "Sure, let her")
    (tmp_path / "transcripts.yaml").write_text(changed)
    (tmp_path / "again.yaml").write_text((tmp_path / "core.yaml").read_text())
    assert load(tmp_path / "again.yaml").hash != load("core").hash


def test_a_book_without_transcripts_uses_those_of_core(write):
    book = load(write([principle()]))
    assert book.transcripts == load("core").transcripts and book.comparisons == load("core").comparisons
    assert book.principles[0].weight == 1 and book.principles[0].applies_to == ("all",)


def test_a_changed_file_is_read_again(write):
    import os

    path = write([principle()])
    assert len(load(path).principles) == 1
    path = write([principle(), principle("harm.two")])
    os.utime(path, ns=(1, 1))
    assert len(load(path).principles) == 2


FEW = {"principle": "harm.one", "request": "a", "reply": "b", "critique": "c", "revision": "d"}

REFUSED = [
    ([principle(wieght=2)], {}, ["mine.yaml", "harm.one", "wieght", "did you mean 'weight'"]),
    ([principle(text=...)], {}, ["harm.one", "'text' is missing"]),
    ([principle(critique_request=..., critque_request="x")], {}, ["harm.one", "critque_request", "critique_request"]),
    ([principle(severity=9)], {}, ["harm.one", "severity", "9", "less than or equal to 5"]),
    ([principle(text=3)], {}, ["harm.one", "text", "3", "string"]),
    ([principle(weight="heavy")], {}, ["harm.one", "weight", "heavy"]),
    ([principle(applies_to=["medicine"])], {}, ["harm.one", "applies_to.0", "did you mean 'medical'"]),
    (
        [principle(examples=[{"prompt": "p", "good": "g", "bda": "b", "bad": "b"}])],
        {},
        ["examples.0.bda", "mean 'bad'"],
    ),
    ([principle(id="Harm one")], {}, ["Harm one", "'id'"]),
    ([principle(id=...)], {}, ["principle 1", "'id' is missing"]),
    (["just text"], {}, ["principle 1", "not a set of fields"]),
    ([principle(), principle()], {}, ["mine.yaml", "two principles", "harm.one"]),
    ([], {}, ["mine.yaml", "at least one principle"]),
    ([principle()], {"pilars": {}}, ["mine.yaml", "pilars", "did you mean 'pillars'"]),
    ([principle()], {"version": 1.0}, ["mine.yaml", "version", "1.0"]),
    ([principle()], {"pillars": {"harms": "x"}}, ["harm.one", "unknown pillar", "harms"]),
    ([principle()], {"transcripts": "../secret.yaml"}, ["mine.yaml", "same folder"]),
    (
        [principle()],
        {"few_shot": {"transcripts": [{**FEW, "principle": "harm.on"}]}},
        ["few.yaml, transcript 1", "mean 'harm.one'"],
    ),
    (
        [principle()],
        {"few_shot": {"transcripts": [{**FEW, "critic": "x"}]}},
        ["few.yaml, transcript 1", "mean 'critique'"],
    ),
    (
        [principle()],
        {"few_shot": {"comparisons": [{"principles": ["harm.x"], "prompt": "p", "good": "g", "bad": "b"}]}},
        ["few.yaml, comparison 1", "harm.x"],
    ),
]


@pytest.mark.parametrize("principles, header, said", REFUSED)
def test_what_cannot_be_read_is_named(write, principles, header, said):
    with pytest.raises(DataError) as error:
        load(write(principles, **header))
    for words in said:
        assert words in str(error.value)


def test_files_that_are_no_books(tmp_path):
    with pytest.raises(MissingError, match="did you mean 'core'"):
        load("cores")
    with pytest.raises(MissingError, match="no constitution is called"):
        load("transcripts")
    with pytest.raises(MissingError, match=r"there is no constitution file"):
        load(tmp_path / "none.yaml")
    path = tmp_path / "broken.yaml"
    for text, said in [
        ("a: [", "not valid YAML"),
        ("- a list", "not a set of fields"),
        ("!!python/object:os.x {}", "not valid YAML"),
    ]:
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            load(path)
        path = tmp_path / f"{len(text)}.yaml"


def test_unknown_principle_and_tag():
    with pytest.raises(MissingError, match=r"did you mean 'harm\.general'"):
        load("core").principle("harm.genral")
    with pytest.raises(ConfigError, match="did you mean 'harmful'"):
        applicable(load("core"), ["harmfull"])


def test_check_warns(write):
    text = "A reply never helps to build weapons of any kind at all."
    book = load(
        write(
            [
                principle("harm.a", text=text, weight=0, examples=...),
                principle("harm.b", text=text.replace("build", "make"), critique_request="What is wrong?"),
                principle("harm.c", revision_request="Do it again.", comparison_request="Which, (B)?"),
            ],
            few_shot={},
            pillars={"harm": "x", "honesty": "y"},
        )
    )
    said = "\n".join(check(book))
    for words in (
        "harm.a: no examples", "harm.a: the weight is 0", "harm.a and harm.b say nearly the same", "harm.b: the critique_request",
        "harm.c: the revision_request", "harm.c: the comparison_request", "pillar 'honesty' has no principle", "no transcripts",
    ):  # fmt: skip
        assert words in said
    assert len(check(book)) == 8


def test_diff_names_every_change(write, tmp_path):
    old = load(write([principle(), principle("harm.gone")]))
    new = load(write([principle(weight=2.0, applies_to=["harmful"]), principle("harm.new")], version="2"))
    found = {(one.kind, one.principle, one.field): (one.before, one.after) for one in diff(old, new)}
    assert found == {
        ("changed", "", "version"): ("1", "2"),
        ("changed", "harm.one", "weight"): (1.0, 2.0),
        ("changed", "harm.one", "applies_to"): (["all"], ["harmful"]),
        ("added", "harm.new", ""): (None, "The text of harm.new."),
        ("removed", "harm.gone", ""): ("The text of harm.gone.", None),
    }
    assert diff(old, old) == []


def test_applicable_by_tag():
    book = load("core")
    plain = {one.id for one in applicable(book, [])}
    assert all("all" in book.principle(id).applies_to for id in plain)
    medical = {one.id for one in applicable(book, ["medical"])}
    assert "medical.care" in medical - plain and "legal.information" not in medical


def test_draws_follow_the_weights_and_the_names(write):
    book = load(write([principle(f"harm.{i}", weight=weight) for i, weight in enumerate([1, 1, 2, 0])]))
    drawn = Counter(draw(book, 7, f"prompt-{i}", round).id for i in range(1000) for round in range(4))
    assert drawn["harm.3"] == 0
    assert chisquare([drawn["harm.0"], drawn["harm.1"], drawn["harm.2"]], [1000, 1000, 2000]).pvalue > 0.01
    assert draw(book, 7, "x", 1) == draw(book, 7, "x", 1)


def test_equal_weights_draw_uniformly_with_replacement(write):
    book = load(write([principle(f"harm.{i}") for i in range(16)]))
    rounds = [[draw(book, "seed", i, k).id for k in range(4)] for i in range(1500)]
    assert chisquare(list(Counter(id for four in rounds for id in four).values())).pvalue > 0.01
    repeats = sum(len(set(four)) < 4 for four in rounds) / len(rounds)
    assert abs(repeats - (1 - 15 * 14 * 13 / 16**3)) < 0.04


def test_draw_excludes_and_keeps_to_tags(write):
    book = load(
        write([principle("harm.a"), principle("harm.b", applies_to=["harmful"]), principle("harm.c", weight=-1)])
    )
    assert {draw(book, i, exclude=["harm.a"]).id for i in range(20)} == {"harm.b"}
    assert {draw(book, i, tags=[]).id for i in range(20)} == {"harm.a"}
    with pytest.raises(ConfigError, match="no principle of the book 'mine' is left to draw"):
        draw(book, 1, tags=[], exclude=["harm.a"])
