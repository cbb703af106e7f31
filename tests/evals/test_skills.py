"""The suite `skills`: what its data promise, planted replies of each skill, and the suite on a tiny model."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from solon.core.artifacts import Artifact, Store
from solon.core.records import Message, Sample, conversation, user
from solon.curate import starter
from solon.evals.asking import Ask, Means, Room, Said
from solon.evals.clarifying import MET, asks_back, way
from solon.evals.completion import CHECKS, fulfilled
from solon.evals.suites import skills
from solon.evals.uncertainty_cues import right
from solon.stages import benchmark as stage
from solon.stages._benchmark_tables import compared, compared_groups

ROOM = Room(2048, lambda text: len(text.split()))
ROWS = starter.load("skills")
OF = {skill: [one for one in ROWS if one.tags["skill"] == skill] for skill in skills.FORMS}
ITEMS = skills.items({skills.FILES[0]: ROWS}, 0, ROOM)
MARKS = {  # what a perfect reply brings, by form
    "task": {"task"}, "unclear": {"ambiguous"}, "clear": {"ambiguous_clear"}, "with": {"context"}, "without": {"context_without"},
    "cited": {"attribution", "attribution_both"}, "direct": {"chain_direct"}, "steps": {"chain_steps", "chain_parsed", "chain_format", "chain_strict", "chain_present"},
    "parts": {"decomposition_final"},
}  # fmt: skip


def said(text: str) -> Said:
    return Said(((text,),))


def marks(item: Ask, reply: str) -> dict[str, float]:
    graded = skills.grade(item, said(reply), Means())
    return {**graded.figures, **graded.facts["tallies"]}


def shipped(item: Ask) -> str:
    """The reply that the row itself holds, or says how to write."""
    given = item.reference
    match item.tags["form"]:
        case "task" | "with" | "without":
            return given["good"]
        case "unclear":
            return given["good"][0]
        case "clear":
            return f"It is {given['answer'][0]}."
        case "cited":
            return f"It is {given['answer'][0]} {''.join(f'[{place}]' for place in given['cites'])}."
        case "direct":
            return given["answer"][0]
        case "steps":
            return f"First I read the question. Then I work it out with care.\nAnswer: {given['answer'][0]}"
    lines = [f"{name}: {accepted[0]}" for name, _, accepted in given["parts"]]
    return "\n".join([*lines, f"Final: {given['answer'][0]}"])


def test_every_skill_has_the_rows_that_its_row_of_the_plan_asks_for():
    assert {skill: len(rows) for skill, rows in OF.items()} == {
        "task": 38, "ambiguous": 33, "context": 34, "attribution": 32, "chain": 33, "decomposition": 24,
    }  # fmt: skip
    assert Counter(item.tags["form"] for item in ITEMS) == {
        "task": 38, "unclear": 33, "clear": 33, "with": 34, "without": 34, "cited": 32, "direct": 33, "steps": 33, "parts": 24,
    }  # fmt: skip
    assert len({item.id for item in ITEMS}) == len(ITEMS) == 294
    kinds = Counter((one.tags["skill"], one.tags["kind"]) for one in ROWS)
    assert min(kinds.values()) >= 4


@pytest.mark.parametrize("form", sorted(MARKS))
def test_the_shipped_replies_have_full_marks_and_empty_ones_none(form):
    for item in ITEMS:
        if item.tags["form"] == form:
            full_and_none(item)


def full_and_none(item: Ask) -> None:
    wanted = MARKS[item.tags["form"]]
    full, none = marks(item, shipped(item)), marks(item, "")
    assert {name: full[name] for name in wanted} == dict.fromkeys(wanted, 1.0), item.id
    assert {name: none[name] for name in wanted} == dict.fromkeys(wanted, 0.0), item.id
    assert none["style_words"] == 0 and none.get("ambiguous_asked_back", 0) == 0
    for above, below in (("task_met", "task_asked"), ("cited_rightly", "due"), ("cited_rightly", "cited"), ("parts_right", "parts")):
        if below in full:
            assert full[above] == full[below] > 0 and none[above] == 0


@pytest.mark.parametrize("pad", ["  {}", "{}\n\n", "\n\t{} \n"])
def test_space_around_a_reply_changes_no_grade(pad):
    for item in ITEMS:
        for reply in (shipped(item), "I do not know."):
            assert marks(item, pad.format(reply)) == marks(item, reply), (item.id, reply)


@pytest.mark.parametrize("form", ["unclear", "clear", "cited", "direct", "steps", "parts"])
def test_wider_gaps_and_capitals_change_no_grade(form):
    """Not so where form is what is asked for."""
    for item in ITEMS:
        if item.tags["form"] == form:
            reply = shipped(item)
            for other in (reply.replace(" ", "  "), reply.upper(), reply.replace("\n", "\n\n")):
                assert {name: marks(item, other)[name] for name in MARKS[form]} == dict.fromkeys(MARKS[form], 1.0), (item.id, other)


def test_a_wrong_reply_of_the_right_form_has_no_mark():
    """The shipped reply of another row: its form fits, its content does not."""
    for form in ("cited", "direct", "steps", "parts"):
        of = [item for item in ITEMS if item.tags["form"] == form]
        for item, other in zip(of, [*of[5:], *of[:5]], strict=True):
            if item.reference["answer"] != other.reference["answer"]:
                main = {"cited": "attribution", "direct": "chain_direct", "steps": "chain_strict", "parts": "decomposition_final"}[form]
                assert marks(item, shipped(other))[main] == 0, (item.id, other.id)


def test_every_check_has_a_row():
    used = {name for one in (*OF["task"], *OF["context"]) for name, _ in one.reference["checks"]}
    assert set(CHECKS) <= used and len(used - set(CHECKS)) >= 15


def test_contexts_change_what_is_right():
    for one in OF["context"]:
        assert len(one.prompt) > 1 and one.prompt[-1].role == "user"
        assert not all(fulfilled(one.reference["plain"], one.reference["checks"])), one.id
    with_, without = (item for item in ITEMS if item.tags["group"] == OF["context"][0].id)
    assert without.prompt == with_.prompt[-1:] and with_.prompt[0].role == "system"


def test_tasks_are_not_done_by_any_text():
    """Neither by saying the task again nor by another task's reply, but for the few that ask for little."""
    passed = 0
    for one in OF["task"]:
        assert not all(fulfilled(one.prompt[-1].content, one.reference["checks"])), one.id
        passed += sum(all(fulfilled(other.reference["good"], one.reference["checks"])) for other in OF["task"] if other is not one)
    assert passed <= 0.005 * len(OF["task"]) * (len(OF["task"]) - 1)


def test_unclear_requests_and_their_twins():
    for one in OF["ambiguous"]:
        given, asked = one.reference, one.prompt[-1].content
        for reply in given["good"]:
            assert way(reply, asked, given["missing"], given["readings"])[0] in MET, (one.id, reply)
        assert way(asked, asked, given["missing"], given["readings"])[0] == "answers", "saying the request again asks nothing"
        assert way(f"It is {given['answer'][0]}.", asked, given["missing"], given["readings"])[0] not in ("asks", "states")
        assert asks_back("What do you mean? Please tell me more.", given["twin"]) and not asks_back("It is so.", given["twin"])
        assert not right("I do not know what you mean.", given["answer"]) or "not" in given["answer"]


def test_passages_hold_what_they_should():
    places = Counter()
    for one in OF["attribution"]:
        given, asked = one.reference, one.prompt[-1].content
        assert 3 <= len(given["passages"]) <= 5 and set(given["cites"]) <= set(range(1, len(given["passages"]) + 1))
        assert not right(asked, given["answer"]) or given["options"], "the question gives the answer away"
        if one.tags["kind"] != "two":
            assert len(given["cites"]) == 1
            holding = [n for n, text in enumerate(given["passages"], 1) if right(text.replace(",", ""), given["answer"])]
            assert holding == given["cites"], one.id
        else:
            assert len(given["cites"]) == 2
        places.update(given["cites"])
    assert max(places.values()) < 0.4 * sum(places.values())


def test_words_have_options_and_options_have_the_answer():
    answers = Counter()
    for one in OF["chain"]:
        (answer,), options = one.reference["answer"], one.reference["options"]
        assert bool(options) != answer.isdigit() and (not options or answer in options)
        answers[answer] += 1
    assert answers.most_common(1)[0][1] <= 4  # `no` four times


def item(form: str, reference, prompt="What?", skill: str | None = None) -> Ask:
    known = {"cited": "attribution", "direct": "chain", "steps": "chain", "parts": "decomposition", "clear": "ambiguous", "unclear": "ambiguous"}
    return Ask("x", user(prompt), reference, tags={"form": form, "skill": skill or known[form], "kind": "k", "group": "x"})


@pytest.mark.parametrize(
    ("reply", "known", "both", "rightly", "cited"),
    [
        ("It is 44 metres tall [2].", 1, 1, 1, 1), ("It is 44 metres tall.", 1, 0, 0, 0), ("It is 31 metres tall [2].", 0, 0, 1, 1),
        ("44 [1][2]", 1, 0, 1, 2), ("44 [9]", 1, 0, 0, 1), ("[44]", 0, 0, 0, 1), ("It is tall [2][2].", 0, 0, 1, 1), ("144 [2]", 0, 0, 1, 1),
        ("[1] The southern tower is 31 m. [2] The northern one is 44 m. [3] None.", 1, 0, 1, 3), ("", 0, 0, 0, 0),
    ],
)  # fmt: skip
def test_citing(reply, known, both, rightly, cited):
    found = marks(item("cited", {"answer": ["44"], "cites": [2], "passages": ["", "", ""], "options": []}), reply)
    wanted = {"attribution": known, "attribution_both": both, "cited_rightly": rightly, "cited": cited, "due": 1}
    assert {name: found[name] for name in wanted} == wanted


def test_both_passages_are_due():
    found = marks(item("cited", {"answer": ["turf"], "cites": [1, 3], "passages": ["", "", ""], "options": []}), "Turf, says [1].")
    assert (found["attribution_both"], found["cited_rightly"], found["cited"], found["due"]) == (0, 1, 1, 2)


@pytest.mark.parametrize(
    ("reply", "known"),
    [
        ("Petra is older than Nils [3].", 1), ("Nils Aaren is older than Petra Aaren.", 0), ("Petra, not Nils", 1), ("Petra", 1), ("Nils or Petra", 0),
        ("Nils was born in 1951 and Petra in 1948. So Petra is older.", 1), ("", 0),
    ],
)  # fmt: skip
def test_a_comparison_picks_one(reply, known):
    given = {"answer": ["petra"], "cites": [1, 3], "passages": ["", "", ""], "options": ["nils", "petra"]}
    assert marks(item("cited", given), reply)["attribution"] == known


@pytest.mark.parametrize(
    ("reply", "right", "parsed", "form", "strict", "present"),
    [
        ("3 * 4 = 12 in all. 20 - 12 = 8 are left.\nAnswer: 8", 1, 1, 1, 1, 1), ("Answer: 8", 1, 1, 1, 1, 0), ("There are 8.", 1, 0, 0, 0, 0),
        ("First I take 3 away. Then I add 4 to it.\nAnswer: 9", 0, 1, 1, 0, 1), ("Answer: 8\nI took 12 away. That is so.", 1, 1, 0, 0, 1),
        ("I take 12 from 20. So the answer is 8.", 1, 1, 0, 0, 1), ("The answer is 9, not 7 or 8.", 0, 1, 0, 0, 0), ("The answer is 8, not 7.", 1, 1, 0, 0, 0),
        ("Answer: I do not know", 0, 1, 1, 0, 0), ("Answer:", 0, 0, 0, 0, 0), ("", 0, 0, 0, 0, 0),
    ],
)  # fmt: skip
def test_chains(reply, right, parsed, form, strict, present):
    found = marks(item("steps", {"answer": ["8"], "options": []}), reply)
    names = ("chain_steps", "chain_parsed", "chain_format", "chain_strict", "chain_present")
    assert tuple(found[name] for name in names) == (right, parsed, form, strict, present)


@pytest.mark.parametrize(
    ("reply", "parts", "final", "given"),
    [
        ("a: 24\nb: 15\nFinal: 39", 2, 1, 1.0), ("a: 24\nb: 15\nFinal: 40", 2, 0, 0.0), ("a: 24\nb: 14\nFinal: 39", 1, 1, None),
        ("Final: 39", 0, 1, None), ("24, 15, 39", 0, 0, None), ("", 0, 0, None), ("a) 2 * 12 = 24\nb) 3 * 5 = 15\n**Final:** 24 + 15 = 39 euros", 2, 1, 1.0),
        ("b: 24\na: 15\nFinal: 39", 0, 1, None),
    ],
)  # fmt: skip
def test_taking_apart(reply, parts, final, given):
    found = marks(item("parts", {"parts": [["a", "Adults?", ["24"]], ["b", "Children?", ["15"]]], "answer": ["39"]}), reply)
    assert (found["parts_right"], found["parts"], found["decomposition_final"]) == (parts, 2, final)
    assert found.get("decomposition_final_given_parts") == given


def test_asking_back_about_a_clear_request_is_a_fault_but_an_offer_is_none():
    clear = item("clear", {"answer": ["86"]}, "What's 30 degrees Celsius in Fahrenheit?")
    for reply, answered, back in (
        ("It is 86.", 1, 0), ("Celsius or Fahrenheit?", 0, 1), ("It is 86. Do you need anything else?", 1, 0), ("It is 90.", 0, 0), ("", 0, 0),
        ("Do you mean 86?", 1, 0),
    ):  # fmt: skip
        found = marks(clear, reply)
        assert (found["ambiguous_clear"], found["ambiguous_asked_back"]) == (answered, back), reply


def test_style_tells_replies_apart():
    plain = skills.style("Name two.", "Here they are, both of them.")
    listed = skills.style("Name two.", "## Two\n\n- one\n- two")
    assert (plain["style_words"], plain["style_lists"], plain["style_headings"]) == (6, 0, 0)
    assert (listed["style_words"], listed["style_lists"], listed["style_headings"]) == (3, 1, 1)
    assert skills.style("", "**Two things**\nrest")["style_headings"] == 1 and skills.style("", "**two** things")["style_headings"] == 0
    assert skills.style("Name two.", "I'm sorry, I can't help with that.")["style_refusals"] == 1
    for reply, refused in (("No.", 0), ("No, it did not rain.", 0), ("No, no, no.", 0), ("No, I can't help with that.", 1), ("Nobody knows.", 0)):
        assert skills.style("Did it rain?", reply)["style_refusals"] == refused, reply
    assert skills.style("Why?", "Perhaps it might be so.")["style_hedges"] == 1 and skills.style("Why?", "It is so.")["style_hedges"] == 0
    again = skills.style("Why?", "the cat sat there " * 8)
    assert again["style_repeats"] > skills.style("Why?", "The cat sat on a mat near our door.")["style_repeats"] == 0


def test_scores_are_what_the_sums_say():
    """Precision is over all citations, recall over all passages that are due, gains over pairs."""
    given = {"answer": ["44"], "cites": [2], "passages": [], "options": []}
    rows = []
    for n, reply in enumerate(["44 [2]", "44 [1][2]", "no", "44 [3]"]):
        graded = skills.grade(item("cited", given), said(reply), Means())
        rows.append({"id": str(n), "tags": {"group": str(n), "kind": "one"}, "figures": {}, **graded.facts})
    value = lambda name: skills.SCORES[name].figure(rows, name).figure.value  # noqa: E731
    assert value("citation_precision") == 2 / 4 and value("citation_recall") == 2 / 4 and value("attribution") == 3 / 4
    pairs = [("8", "Answer: 8"), ("7", "Answer: 8"), ("8", "no idea"), ("1", "Answer: 8")]
    rows = []
    for n, both in enumerate(pairs):
        for form, reply in zip(("direct", "steps"), both, strict=True):
            graded = skills.grade(item(form, {"answer": ["8"], "options": []}), said(reply), Means())
            rows.append({"id": f"{n}{form}", "tags": {"group": str(n), "kind": "k"}, "figures": {}, **graded.facts})
    assert (value("chain_direct"), value("chain_steps"), value("chain_gain"), value("chain_parsed")) == (0.5, 0.75, 0.25, 0.75)


def test_what_is_asked():
    row = Sample("r", user("How tall?"), {"answer": ["4"], "cites": [1], "passages": ["One.", "Two."], "options": []}, {"skill": "attribution", "kind": "one"})
    (cited,) = skills.items({skills.FILES[0]: [row]}, 0, ROOM)
    assert cited.prompt[0].content == f"[1] One.\n[2] Two.\n\n{skills.CITE}\n\nHow tall?"
    row = Sample("r", conversation(("system", "S"), ("user", "U")), {"checks": []}, {"skill": "context", "kind": "k"})
    with_, without = skills.items({skills.FILES[0]: [row]}, 0, ROOM)
    assert with_.prompt == (Message("system", "S"), Message("user", "U")) and without.prompt == user("U") and with_.tags["group"] == "r"
    row = Sample("r", user("All?"), {"parts": [["a", "One?", ["1"]], ["b", "Two?", ["2"]]], "answer": ["3"]}, {"skill": "decomposition", "kind": "k"})
    (whole,) = skills.items({skills.FILES[0]: [row]}, 0, ROOM)
    assert "a) One?\nb) Two?\n" in whole.prompt[0].content and "`a: ...`, `b: ...`, `Final: ...`" in whole.prompt[0].content
    row = Sample("r", user("Who?"), {"answer": ["Ben"], "options": ["Ben", "Eva"]}, {"skill": "chain", "kind": "k"})
    direct, steps = skills.items({skills.FILES[0]: [row]}, 0, ROOM)
    assert direct.chance == {"chain_direct": 0.5} and steps.chance["chain_steps"] == 0.5 and "step by step" in steps.prompt[0].content


def artifact(store: Store, name: str, monkeypatch, reply) -> Artifact:
    """The suite's artifact of a model that says what `reply` gives for an item."""

    def answered(subject, part, *_):
        return [(said(reply(item)), {"replies": [[reply(item)]], "cut": False}) for item in part]

    monkeypatch.setattr(stage, "answered", answered)
    subject = stage.Subject(name, store)
    tokenizer = SimpleNamespace(encode=lambda text, special: text.split())
    model = SimpleNamespace(tokenizer=tokenizer, arch=SimpleNamespace(context=2048), params={"embed": np.zeros(1)})
    subject.__dict__.update(model=model, source=f"{name}@0")
    return stage.benchmark(store, stage.Benchmark(), "skills", subject)


def test_the_whole_suite_on_a_perfect_and_on_a_silent_model(tmp_path, monkeypatch):
    store = Store(tmp_path / "runs")
    perfect, silent = artifact(store, "perfect", monkeypatch, shipped), artifact(store, "silent", monkeypatch, lambda _: "")
    told, none = perfect.read("figures.json"), silent.read("figures.json")["figures"]
    assert set(told["figures"]) == set(skills.CARD.figures) == set(skills.SCORES) | {"task", "decomposition_final_given_parts"}
    best = {*{mark for marks in MARKS.values() for mark in marks}, "task_demands", "citation_precision", "citation_recall", "ambiguous_gap"}
    for name, figure in told["figures"].items():
        if name in best | {"decomposition_parts", "decomposition_final_given_parts"}:
            assert figure["value"] == 1.0 and figure["n"] >= 24 and figure["ci"][0] <= 1.0 <= figure["ci"][1], name
            assert name == "decomposition_final_given_parts" or none[name]["value"] == 0.0, name
    assert "decomposition_final_given_parts" not in none, "it has no value where no row has all its parts right"
    assert {name: told["figures"][name]["value"] for name in ("context_gain", "chain_gain", "ambiguous_asked_back")} == {
        "context_gain": 0.0, "chain_gain": 0.0, "ambiguous_asked_back": 0.0,
    }  # fmt: skip
    assert told["figures"]["style_words"]["n"] == 294 and none["style_words"]["value"] == 0
    assert set(told["slices"]["kind"]) == {one.tags["kind"] for one in OF["task"]}
    assert {(one["figure"], one["slice"]) for one in told["groups"] if one["figure"] == "context"} == {
        ("context", one.tags["kind"]) for one in OF["context"]
    }
    changes = {row["figure"]: row for row in compared(silent, perfect)}
    assert changes["task"]["p_holm"] < 0.001 and changes["task"]["difference"] == 1.0 and changes["chain_gain"]["difference"] == 0.0
    assert changes["style_words"]["difference"] > 0 and compared_groups(silent, perfect)
