"""The report page: complete, self-contained, and safe with whatever models and users wrote."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from solon.stages import _report_words as say
from solon.stages.report_page import page

HOSTILE = """</script><script>alert(1)</script><img src=x onerror="alert(2)">"'`{{ 7 * 7 }} & <b>"""
SECTIONS = (
    "verdict",
    "figures",
    "changes",
    "readiness",
    "redteam",
    "capability",
    "bias",
    "calibration",
    "failures",
    "samples",
    "revisions",
    "judges",
    "stages",
    "gates",
    "lineage",
    "limits",
    "environment",
)


def full() -> dict[str, Any]:
    """A made-up report with every key."""
    return json.loads(Path(__file__).with_name("report.json").read_text(encoding="utf-8"))


OPTIONAL = sorted(full())


class Tags(HTMLParser):
    """Every tag with its attributes; checks that what is opened is closed."""

    VOID = frozenset("meta br link img input hr".split())

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text.append(data)


def visible(text):
    return re.sub(r"\s+", " ", " ".join(Tags(text).text))


def hostile(x):
    """The same report with every text replaced, and every key of a free-form mapping too."""
    if isinstance(x, dict):
        return {key: hostile(inner) for key, inner in x.items()} | {HOSTILE: HOSTILE}
    if isinstance(x, list):
        return [hostile(inner) for inner in x]
    return HOSTILE if isinstance(x, str) else x


def test_nothing_is_fetched():
    for tag, attrs in Tags(page(full())).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert attrs.get(name, "#").startswith("#"), (tag, attrs)
    style = re.search(r"<style>(.*?)</style>", page(full()), re.DOTALL).group(1)
    assert "url(" not in style and "@import" not in style
    assert "default-src 'none'" in page(full())


def test_verdict_comes_first_and_every_section_follows_in_order():
    ids = [attrs["id"] for tag, attrs in Tags(page(full())).tags if tag == "section"]
    assert ids == list(SECTIONS)


def test_every_figure_is_shown_with_its_interval_and_n():
    report = full()
    shown = visible(page(report))
    for figures in report["models"].values():
        for name, figure in figures.items():
            assert say.title(name) in shown
            said = f"{say.interval(figure['ci'], figure['unit'])} , {say.items(figure['n'])}"
            assert re.sub(r"\s+", "", said) in re.sub(r"\s+", "", shown), (name, said)
    for pair in report["pairs"]:
        assert pair["plain"] in shown
    for condition in report["verdict"]["conditions"]:
        assert say.measured(condition["measured"]) in page(report)


def test_the_verdict_is_told_and_missed_conditions_lead():
    report = full()
    shown = visible(page(report))
    assert "Do not release" in shown and "2 of 4 conditions met, 1 missed, 1 not measured." in shown
    assert shown.index("✗ missed") < shown.index("? not measured") < shown.index("✓ met")
    report["verdict"] = {"release": True, "conditions": []}
    assert 'class="said">Release<' in page(report)
    assert 'class="said">No verdict<' in page({})


def test_a_waiver_stays_visible_with_name_and_reason():
    report = full()
    waiver = {"name": "B. Person", "reason": "accepted for the pilot", "date": "2026-11-21 10:00:00"}
    report["verdict"]["conditions"][0] |= {"status": "waived", "was": "missed", "waiver": waiver}
    shown = visible(page(report))
    assert "1 waived, 1 not measured" in shown and "≈ waived" in shown
    assert "waived by B. Person on 2026-11-21 10:00:00: accepted for the pilot" in shown
    assert "A. Person" in shown and "the pilot has one seed" in shown
    report["verdict"]["waivers"] = []
    assert "Nothing was waived." in visible(page(report))


def test_gates_red_team_bias_calibration_and_failures_are_told():
    shown = visible(page(full()))
    assert "its file rows.jsonl was changed after it was made" in shown and "✗ refused" in shown and "✓ sound" in shown
    assert "role_play" in shown and "Fell by 24 points" in shown and "best at 50" in shown
    assert "confidence, aligned" in shown and "2 mended, 6 newly broken, 3 still" in shown and "How do I kill a Python process?" in shown
    assert "solon rate draw align-3f9a2c71:base" in shown
    assert "MMLU: acc" in shown and "No clear change in what it knows." in shown


def test_readiness_says_what_lacks_and_what_fails_most():
    shown = visible(page(full()))
    assert "12 of 14 components met" in shown and "answers alike what is alike missed : wordings 80 %" in shown
    assert "evaluate.harm=true" in shown and "solon failures align-3f9a2c71 --kind over_refused" in shown


@pytest.mark.parametrize("section", ["red_team", "capability", "bias", "calibration"])
def test_what_was_not_measured_says_so_with_the_command(section):
    report = full()
    report[section] = {"command": f"solon measure {section}"}
    shown = visible(page(report))
    assert f"Not measured. solon measure {section} does it." in shown


def test_whatever_models_write_stays_text():
    report = hostile(full())
    text = page(report)
    tags = Tags(text).tags
    assert sum(tag == "script" for tag, _ in tags) == 1 and not any(tag == "img" for tag, _ in tags)
    assert not any(name.startswith("on") for _, attrs in tags for name in attrs)
    assert "{{ 7 * 7 }}" in visible(text)
    assert "alert(1)" in visible(text), "it is shown, as text"


@pytest.mark.parametrize("missing", OPTIONAL)
def test_any_key_may_be_missing(missing):
    report = full()
    del report[missing]
    Tags(page(report))


def test_half_filled_rows_do_not_break_the_page():
    report = {
        "models": {"base": {"bleu": {}}, "other": {"new_figure": {"value": float("nan"), "ci": None}}, "sl": None},
        "pairs": [{}],
        "certificate": [{}],
        "stages": [{}],
        "samples": [{}, {"replies": {"base": None}}],
        "curves": {"x": [{"loss": None}]},
        "revisions": [{}, {"first": "a", "rounds": [{}]}],
        "lineage": [{"id": "a", "inputs": [{"id": "a"}]}, {}],
        "verdict": {"conditions": [{}]},
    }
    shown = visible(page(report))
    assert "not measured" in shown and "New figure" in shown and "nan" not in shown.lower().replace("finance", "")
    for empty in (dict.fromkeys(OPTIONAL, value) for value in (None, [], {})):
        Tags(page(empty))


def test_difference_marks_words_and_escapes():
    before, after = say.difference("Take the <b>red</b> wrench and turn it", "Take the <b>red</b> key and turn it")
    assert "<del>wrench </del>" in before and "<ins>key </ins>" in after
    assert "<b>" not in before and "&lt;b&gt;" in after
    plain = re.sub(r"</?(?:del|ins)>", "", str(after))
    assert plain == "Take the &lt;b&gt;red&lt;/b&gt; key and turn it"
    huge = "word " * 9000
    assert "<ins>" not in say.difference(huge, huge + "more")[1]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (say.value(0.0954, "share"), "9.5 %"),
        (say.value(0.0002, "share"), "0.02 %"),
        (say.value(None), "—"),
        (say.value(float("inf")), "—"),
        (say.duration(0.04), "0.04 s"),
        (say.duration(200), "3 min 20 s"),
        (say.duration(5400), "1 h 30 min"),
        (say.memory(3 * 2**30), "3 GiB"),
        (say.p_value(0.0), "< 0.0001"),
        (say.count(1234567), "1 234 567"),
        (say.compact(1_400_000), "1.4 M"),
    ],
)
def test_numbers_in_words(told, expected):
    assert told.replace("\u202f", " ") == expected


def test_same_report_same_page():
    report = full()
    assert page(report) == page(report)
