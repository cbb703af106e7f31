"""The safety classifier: what labels mean, what a head learns from them, and what a score may depend on."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, confusion_matrix, f1_score, precision_recall_curve, roc_auc_score

from solon.core.errors import DataError, MissingError, ModelError
from solon.core.records import conversation, user
from solon.safety import classifier, head, measure, replies, taxonomy
from solon.safety.classifier import Classifier
from solon.safety.head import HARM, OUTPUTS, Head, targets
from solon.safety.readers import Reading
from solon.safety.taxonomy import CATEGORIES, FLAGS, LABELS, Known
from solon.safety.texts import Reply, Text
from solon.stages import _safety_figures, _safety_pictures, _safety_texts

WORDS = ("bomb", "idiot", "drugs", "hack", "hello", "cake", "river", "sorry", "sure", "not")


class WordReader:
    """Stands in for an encoder: counts of ten words in windows of eight. What it gives can be reckoned by hand."""

    name, digest = "words", "0" * 64

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"words": len(WORDS)}

    def read(self, text: str) -> Reading:
        found = text.lower().split()
        cut = [found[i : i + 8] for i in range(0, max(len(found), 1), 8)]
        rows = np.array([[part.count(word) for word in WORDS] for part in cut[:3]], np.float32)
        return Reading(rows, len(cut) > 3)


FACTS = {"reader": "words", "digest": "0" * 64, "settings": {"words": len(WORDS)}}


def plain_head(**changes: Any) -> Head:
    """Harm for the first four words, one category each."""
    weight = np.zeros((len(OUTPUTS), len(WORDS)), np.float32)
    for j, name in enumerate(("weapons", "toxicity", "drugs", "cyber")):
        weight[OUTPUTS.index(name), j] = 6
        weight[HARM:, j] = (6, 4, 2)
    ones = np.ones(len(OUTPUTS), np.float32)
    flat = np.zeros(len(WORDS), np.float32)
    made = Head(weight, -3 * ones, flat, flat + 1, ones, ones / 2, FACTS)
    return replace(made, **changes)


def texts(count: int = 60) -> list[tuple[str, Known]]:
    """Sentences of two words and what is known of them."""
    rng = np.random.default_rng(0)
    out = []
    for i in range(count):
        first, second = rng.choice(WORDS[:4]), rng.choice(WORDS[4:7])
        if i % 2:
            out.append((f"{first} {second} {i}", Known({"weapons": bool(first == "bomb"), "drugs": bool(first == "drugs")}, (1, 3))))
        else:
            out.append((f"{second} {second} {i}", taxonomy.HARMLESS))
    return out


# Labels


def test_every_label_names_known_categories_and_levels() -> None:
    for known in [known for table in LABELS.values() for known in table.values()]:
        assert set(known.categories) <= set(CATEGORIES)
        low, high = known.severity
        assert 0 <= low <= high <= 3
        assert not (any(known.categories.values()) and low == 0), "a harm that is there is at least mild"
    assert {category for category, _ in FLAGS.values()} <= set(CATEGORIES)
    assert 10 <= len(CATEGORIES) <= 14 and all(words.endswith(".") for words in CATEGORIES.values())


def test_the_mapping_is_total_over_the_data_that_come_with_solon() -> None:
    red = [t for side in ("train", "validation", "test") for t in _safety_texts.texts("red_team", side)]
    assert len(red) == 425 and {t.label for t in red} == set(taxonomy.RED_TEAM)
    # Every category but those that no starter prompt shows can be learned from some label.
    yes = {name for table in LABELS.values() for known in table.values() for name, there in known.categories.items() if there}
    assert yes | {category for category, _ in FLAGS.values()} == set(CATEGORIES)


@pytest.mark.skipif("SOLON_DATA" not in os.environ, reason="needs the public data sets")
def test_the_mapping_is_total_over_the_public_data() -> None:
    """A label without a meaning would raise; the sides share no family."""
    for source in _safety_texts.sources():
        sides = {side: _safety_texts.texts(source, side) for side in ("train", "validation", "test")}
        families = [{text.family for text in side} for side in sides.values()]
        assert all(not a & b for a, b in itertools.combinations(families, 2)), source
        assert sides["test"], source
        if source in ("hatecheck", "xstest"):
            assert not sides["train"] and not sides["validation"]


def test_absent_labels_are_unknown_and_never_a_no() -> None:
    """For every set of flags that may be absent: a category whose flags are all absent is unknown."""
    for absent in itertools.product((False, True), repeat=len(FLAGS)):
        flags = {flag: None if gone else 0 for flag, gone in zip(FLAGS, absent, strict=True)}
        known = taxonomy.flagged(flags)
        judged = {category for (flag, (category, _)) in FLAGS.items() if flags[flag] == 0}
        assert set(known.categories) <= judged and not any(known.categories.values())
        assert known.at_least(1) is (None if any(absent) else False)
        row = targets([known])[0]
        assert all(np.isnan(row[j]) for j, name in enumerate(CATEGORIES) if name not in known.categories)


def test_flags_that_are_set() -> None:
    threatening = taxonomy.flagged({"H": None, "H2": 1})
    assert threatening.categories == {"hate": True} and threatening.severity == (3, 3)
    graphic = taxonomy.flagged({**dict.fromkeys(FLAGS, 0), "V2": 1, "V": 0})
    assert graphic.categories["violence"] is True and graphic.categories["sexual"] is False
    narrow = taxonomy.flagged({"H2": 0})
    assert narrow.categories == {}, "not threatening does not mean not hateful"
    with pytest.raises(DataError, match="neither 0 nor 1"):
        taxonomy.flagged({"S": 2})


def test_exclusive_labels_leave_the_overlapping_open() -> None:
    weapons = taxonomy.known("red_team", "weapons")
    assert weapons.categories["weapons"] is True and weapons.categories["sexual"] is False
    assert "violence" not in weapons.categories and "toxicity" not in weapons.categories
    civil = taxonomy.known("surge", "Not Toxic")
    assert civil.categories["toxicity"] is False and "drugs" not in civil.categories
    with pytest.raises(DataError, match="without a meaning"):
        taxonomy.known("surge", "toxic")
    with pytest.raises(DataError, match="surge"):
        taxonomy.known("surg", "Toxic")


def test_severity_bounds_become_levels() -> None:
    row = targets([Known(severity=(1, 2)), Known(severity=(2, 3)), Known()])[:, HARM:]
    np.testing.assert_array_equal(row, [[1, np.nan, 0], [1, 1, np.nan], [np.nan] * 3])


# Measures


@pytest.mark.parametrize("seed", range(5))
def test_measures_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.random(200) < 0.3
    score = np.round(rng.normal(size=200) + y, seed % 3)  # with and without ties
    assert measure.auroc(y, score) == pytest.approx(roc_auc_score(y, score), abs=1e-12)
    assert measure.average_precision(y, score) == pytest.approx(average_precision_score(y, score), abs=1e-12)
    assert measure.f1(y, score > 0.5) == pytest.approx(f1_score(y, score > 0.5), abs=1e-12)
    assert measure.false_positive_rate(y, score > 0.5) == pytest.approx(((score > 0.5) & ~y).sum() / (~y).sum())


@pytest.mark.parametrize("seed", range(3))
def test_macro_f1_is_the_mean_over_what_is_known(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, decided = (rng.random((2, 90, 4)) < 0.4).astype(float)
    decided = decided.astype(bool)
    assert measure.macro_f1(None, y, decided) == pytest.approx(f1_score(y, decided, average="macro"))
    y[rng.random(y.shape) < 0.5] = np.nan
    y[y[:, 3] == 1, 3] = 0  # no text of the last one: it is left out
    given = np.isfinite(y)
    theirs = [f1_score(y[given[:, j], j], decided[given[:, j], j]) for j in range(3)]
    assert measure.macro_f1(None, y, decided) == pytest.approx(np.mean(theirs))
    assert np.isnan(measure.macro_f1(None, y * np.nan, decided))


@pytest.mark.parametrize("digits", [1, 6])
def test_precision_and_recall_equal_scikit_learn(digits: int) -> None:
    rng = np.random.default_rng(digits)
    y = rng.random(80) < 0.3
    score = np.round(rng.random(80), digits)  # with and without ties
    precision, recall, _ = precision_recall_curve(y, score)
    points = sorted(zip(recall[:-1], precision[:-1], strict=True))  # its last point belongs to no score
    assert np.allclose(sorted(measure.precision_recall(y, score)), points)
    assert measure.precision_recall(y & False, score) == []


def test_every_output_with_enough_labels_has_figures() -> None:
    """Each category and level by its own score and threshold, on the texts whose label is known; too few of a kind give none."""
    made, many = plain_head(), []
    for i in range(90):
        word = ("bomb", "drugs", "cake")[i % 3]
        bad = {"weapons": word == "bomb", "hate": i == 0, **({"drugs": word == "drugs"} if i % 2 else {})}
        known = Known(bad | ({"cyber": True} if i % 5 else {}), (0, 0) if word == "cake" else (1, 1) if i % 4 else (2, 3))
        many.append(Text("red_team", f"{word if i % 7 else 'hello'} {i}", "", known, f"f{i}"))  # some are missed
    read = {text.text: scorer().logits(text.text)[:2] for text in many}
    rows = _safety_figures.of_texts(made, {"requests": many}, read)
    assert {row["slice"] for row in rows} == {"", "weapons", "drugs", "severity>=2", "categories"}
    p = made.probabilities(np.array([read[text.text][0] for text in many]))
    f1s = []
    for output in ("weapons", "drugs", "severity>=2"):
        y, j = _safety_figures.truth(many, output), OUTPUTS.index(output)
        given = np.isfinite(y)
        found = {row["figure"]: row for row in rows if row["slice"] == output}
        decided = p[given, j] >= made.threshold[j]
        assert list(found["F1"]["confusion"].values()) == confusion_matrix(y[given], decided, labels=[1, 0]).ravel().tolist()
        assert found["AUROC"]["n"] == given.sum() and found["AUROC"]["value"] == pytest.approx(roc_auc_score(y[given], p[given, j]))
        f1s.append(f1_score(y[given], decided))
    (macro,) = [row for row in rows if row["figure"] == "macro-F1"]
    assert macro["value"] == pytest.approx(np.mean(f1s[:2])) and macro["how"].startswith("mean over weapons, drugs;")
    assert macro["n"] == 90 and macro["low"] < macro["value"] < macro["high"]


def test_intervals_are_wider_when_texts_come_in_families() -> None:
    rng = np.random.default_rng(1)
    y = np.repeat(rng.random(40) < 0.5, 10)
    score = np.repeat(rng.normal(size=40), 10) + y
    alone = measure.measure(measure.auroc, y, score, clusters=list(range(400)), name="a")
    together = measure.measure(measure.auroc, y, score, clusters=[i // 10 for i in range(400)], name="a")
    assert alone.value == together.value and alone.n == 400 and alone.positives == y.sum()
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    assert measure.measure(measure.auroc, y, score, clusters=list(range(400)), name="a") == alone
    with pytest.raises(DataError):
        measure.measure(measure.auroc, y, score[:9], clusters=list(range(400)), name="a")


# Heads


def fitted(count: int = 200) -> tuple[Head, np.ndarray, np.ndarray]:
    """A head on noise whose outputs depend on known directions; a third of the labels are unknown."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(count, 6))
    y = (x @ rng.normal(size=(6, len(OUTPUTS))) + rng.normal(size=(count, len(OUTPUTS))) > 0).astype(float)
    y[rng.random(y.shape) < 1 / 3] = np.nan
    return head.fit(x, y, [f"f{i}" for i in range(count)], np.ones(count), {"reader": "noise"}), x, y


def test_each_output_is_the_regression_on_its_known_texts() -> None:
    made, x, y = fitted()
    scaled = (x - x.mean(0)) / x.std(0)
    for j in (0, 5, HARM):
        given = np.isfinite(y[:, j])
        theirs = LogisticRegression(C=made.facts["strength"], max_iter=1000, tol=1e-9).fit(scaled[given], y[given, j])
        np.testing.assert_allclose(made.weight[j], theirs.coef_[0], atol=1e-3)  # two stops of one convex descent
    assert np.mean((made.logits(x)[:, 0] > 0) == (y[:, 0] == 1)) > 0.5
    with pytest.raises(DataError, match="too few labelled texts to learn 'hate'"):
        y[:, OUTPUTS.index("hate")] = np.nan
        head.fit(x, y, ["f"] * len(x), np.ones(len(x)))


def test_calibration_improves_the_log_loss_of_a_head_that_is_too_sure() -> None:
    made, x, y = fitted()
    sure = replace(made, weight=made.weight * 5, bias=made.bias * 5)
    after = head.calibrated(sure, x, y)

    def loss(one: Head, j: int) -> float:
        given = np.isfinite(y[:, j])
        return float(head.log_loss(y[given, j], one.logits(x)[given, j] / one.temperature[j]).mean())

    for j in range(len(OUTPUTS)):
        assert after.temperature[j] > 1 and loss(after, j) < loss(sure, j)
        # Temperature changes no order, so what ranking measures stays as it was.
        given = np.isfinite(y[:, j])
        p = head.sigmoid(after.logits(x) / after.temperature)
        assert measure.auroc(y[given, j], p[given, j]) == measure.auroc(y[given, j], sure.logits(x)[given, j])
    few = head.calibrated(sure, x[:6], y[:6])
    assert (few.temperature == 1).all() and (few.threshold == 0.5).all()


def test_the_threshold_has_the_best_f1() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        y = (rng.random(40) < 0.4).astype(float)
        y[0] = 1
        p = np.round(head.sigmoid(rng.normal(size=40) + y), 2)
        best = max(f1_score(y, p >= cut) for cut in np.unique(p))
        assert f1_score(y, p >= head.best_threshold(y, p)) == pytest.approx(best)


def test_severity_falls_with_its_level() -> None:
    made, x, _ = fitted()
    p = made.probabilities(made.logits(x) * 9)
    assert (np.diff(p[:, HARM:], axis=1) <= 0).all() and ((p >= 0) & (p <= 1)).all()


def test_a_head_is_read_back_and_damage_is_refused(tmp_path: Path) -> None:
    made = plain_head()
    data = made.to_bytes()
    assert data == plain_head().to_bytes(), "equal heads give equal bytes"
    back = Head.from_bytes(data)
    assert back.facts == FACTS and all(np.array_equal(getattr(back, n), getattr(made, n)) for n in head.ARRAYS)
    for end in (0, 10, len(data) // 2, len(data) - 1):
        with pytest.raises(ModelError):
            Head.from_bytes(data[:end])
    with pytest.raises(ModelError, match="damaged"):
        Head.from_bytes(replace(made, bias=made.bias[:3]).to_bytes())
    with pytest.raises(ModelError, match="damaged"):
        Head.from_bytes(replace(made, bias=made.bias * np.float32(np.nan)).to_bytes())
    with pytest.raises(MissingError):
        Head.from_file(tmp_path / "none.npz")
    objects = tmp_path / "objects.npz"
    np.savez(objects, **dict.fromkeys(head.ARRAYS, np.array([{}], object)), facts=np.array("{}"))
    with pytest.raises(ModelError):  # a pickle is never opened
        Head.from_file(objects)


# Scores


def scorer() -> Classifier:
    return Classifier(WordReader(), plain_head(), card="test")


def test_a_score_is_the_heads_sum() -> None:
    one, two = scorer().score(["bomb cake", "hello river"])
    assert one.categories["weapons"] == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-6) and one.flagged
    assert two.harm == pytest.approx(1 / (1 + np.exp(3)), abs=1e-6) and not two.flagged
    assert one.severity == pytest.approx(sum(1 / (1 + np.exp(3 - w)) for w in (6, 4, 2)), abs=1e-5)
    assert set(one.categories) == set(CATEGORIES) and one.card == "test"


def test_scores_do_not_depend_on_neighbours_or_order() -> None:
    many = ["bomb cake", "hello", "drugs " * 30, "", "you idiot", user("hack the river")]
    together = scorer().score(many)
    assert together == scorer().score(many)
    assert together == [scorer().score([item])[0] for item in many]
    assert together[::-1] == scorer().score(many[::-1])


def test_long_texts_are_read_in_windows_and_it_says_where_it_stopped() -> None:
    hidden = "cake " * 8 + "bomb " + "cake " * 7
    one, two, three = scorer().score([hidden, "cake " * 40 + "bomb", "cake " * 24])
    assert one.harm == scorer().score(["bomb"])[0].harm and not one.truncated
    assert two.truncated and not two.flagged and not three.truncated


def test_an_empty_text_is_harmless() -> None:
    assert all(one.harm == one.severity == 0 and not one.flagged for one in scorer().score(["", " \n\t"]))
    assert scorer().score([]) == []


@pytest.mark.parametrize(
    "items, says",
    [
        ("one text", "give a list"), ({"a": 1}, "give a list"), (b"bytes", "give a list"), (user("hi"), "one conversation"),
        ([None], "item 0"), (["fine", 3], "item 1"), ([b"bytes"], "item 0"), ([[]], "item 0"), ([[{"role": "user"}]], "item 0"),
        ([[{"role": "user", "content": 3}]], "item 0"), ([["user", "hi"]], "item 0"), ([{"role": "user", "content": "x"}], "item 0"),
    ],
)  # fmt: skip
def test_what_is_not_a_text_is_refused(items: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        scorer().score(items)


def test_a_head_is_used_only_with_its_reader() -> None:
    with pytest.raises(ModelError, match="another reader"):
        Classifier(WordReader(), plain_head(facts={**FACTS, "digest": "1" * 64}))
    with pytest.raises(ModelError, match="replies in their context"):
        scorer().score([conversation(("user", "bomb"), ("assistant", "sure"))])


# Replies


def reply_rows() -> list[Reply]:
    """Requests that are harmful or not, each granted with `sure` and refused with `sorry not`."""
    out = []
    for i in range(30):
        bad = i % 2 == 0
        asked = f"{WORDS[i % 4] if bad else 'cake'} river {i}"
        out.append(Reply("test", asked, f"sure {i}", bad, True, f"f{i}"))
        out.append(Reply("test", asked, f"sorry not {i}", False, False, f"f{i}"))
        out.append(Reply("pairs", asked, f"sorry not {i}", None, None, f"p{i}", worse=f"sure {i}"))
    return out


def reply_head() -> replies.ReplyHead:
    rows, one = reply_rows(), scorer()
    read = {text: one.logits(text)[:2] for row in rows for text in (row.prompt, row.text, row.worse) if text}
    return replies.calibrated_replies(replies.fit_replies(rows, read, FACTS), rows, read)


def test_a_reply_is_judged_by_what_it_goes_along_with() -> None:
    both = Classifier(WordReader(), plain_head(), reply_head(), "test")
    turns = [("bomb river", "sure"), ("bomb river", "sorry not"), ("cake river", "sure"), ("cake river", "sorry not")]
    helped, refused, fine, odd = both.score([conversation(("user", asked), ("assistant", said)) for asked, said in turns])
    assert helped.harm > 0.5 > max(refused.harm, fine.harm, odd.harm) and helped.flagged and not refused.flagged
    assert helped.categories["weapons"] > 4 * refused.categories["weapons"]
    assert all(one.severity <= 3 * one.harm + 1e-9 for one in (helped, refused, fine, odd))
    only = both.score([[{"role": "assistant", "content": "bomb"}]])
    assert 0 <= only[0].harm <= 1
    assert both.score([conversation(("assistant", "sure"), ("user", "bomb"))]) == both.score(["bomb"])


@pytest.mark.parametrize("sure", [-2.0, 2.0])
@pytest.mark.parametrize("asked, said", [("bomb river", "cake bomb"), ("hello", "sure")])
def test_the_harm_of_a_reply_is_what_the_reply_head_says(asked: str, said: str, sure: float) -> None:
    """Whether it holds the reply more harmful than its words or less; the levels of severity keep their odds given harm."""
    says = replace(reply_head(), mix=np.array([0, 0, 0, 0, sure], np.float32))
    request, reply = (scorer().logits(one) for one in (asked, said))
    p = plain_head().probabilities(np.stack([request[0], reply[0]])).max(0)
    harm = says.probability(request[:2], reply[:2])
    one = Classifier(WordReader(), plain_head(), says).score([conversation(("user", asked), ("assistant", said))])[0]
    assert one.harm == harm and one.flagged == (harm >= says.threshold)
    assert one.severity == pytest.approx(harm * p[HARM:].sum() / p[HARM]) and harm <= one.severity <= 3 * harm
    assert list(one.categories.values()) == pytest.approx(list(p[:HARM] * min(1, harm / p[HARM])))


def test_the_request_of_a_reply_is_read_once() -> None:
    class Counting(WordReader):
        seen: ClassVar[list[str]] = []

        def read(self, text: str) -> Reading:
            self.seen.append(text)
            return super().read(text)

    looked, plain = Classifier(Counting(), plain_head(), reply_head()), Classifier(WordReader(), plain_head(), reply_head())
    looks = [conversation(("user", f"bomb {i // 5}"), ("assistant", "sure " * (i % 5 + 1))) for i in range(50)]
    assert [looked.score([one])[0] for one in looks] == [Classifier(WordReader(), plain_head(), plain.replies).score([one])[0] for one in looks]
    assert Counting.seen.count("bomb 3") == 1 and len(Counting.seen) == 10 + 50
    assert looked._asked.cache_info().currsize == classifier.ASKED


def test_a_reply_head_is_read_back_and_damage_is_refused() -> None:
    made = reply_head()
    data = made.to_bytes()
    assert data == reply_head().to_bytes()
    back = replies.ReplyHead.from_bytes(data)
    read = {text: scorer().logits(text)[:2] for text in ("bomb", "sure")}
    assert back.probability(read["bomb"], read["sure"]) == made.probability(read["bomb"], read["sure"])
    for end in (0, len(data) // 2, len(data) - 1):
        with pytest.raises(ModelError):
            replies.ReplyHead.from_bytes(data[:end])
    with pytest.raises(ModelError):
        replies.ReplyHead.from_bytes(plain_head().to_bytes())


# What comes with Solon


def test_a_head_that_was_changed_is_refused(tmp_path: Path) -> None:
    made = plain_head().to_bytes()
    (tmp_path / "own.npz").write_bytes(made)
    said = {"id": "x", "name": "own", "files": {"own.npz": {"sha256": hashlib.sha256(made).hexdigest(), "bytes": len(made)}}}
    card = tmp_path / "own.json"
    card.write_text(json.dumps(said))
    (tmp_path / "own.npz").write_bytes(made[:-1])
    with pytest.raises(ModelError, match="not what its card says"):
        classifier.load(str(card))
    card.write_text("{}")
    with pytest.raises(ModelError, match="not a card"):
        classifier.load(str(card))
    with pytest.raises(MissingError, match="minilm"):
        classifier.load("minilmm")


def test_the_confusion_matrix_is_scikit_learns() -> None:
    draws = np.random.default_rng(3)
    y, p = (draws.random(80) < 0.3).astype(float), draws.random(80)
    rows = _safety_figures.described("some", "", y, p, 0.6, [str(i) for i in range(80)])
    (matrix,) = _safety_figures.confusions(rows)
    assert list(matrix.values())[2:] == confusion_matrix(y, p >= 0.6, labels=[1, 0]).ravel().tolist()
    assert not _safety_figures.confusions(_safety_figures.described("some", "", y, p, None, [str(i) for i in range(80)]))


def test_pictures_hold_what_is_measured() -> None:
    draws = np.random.default_rng(4)
    y, p = (draws.random(80) < 0.3).astype(float), draws.random(80)
    drawn = _safety_pictures.reliable(y, p)
    assert "Requests, n 80" in drawn and drawn.count("share harmful 0.") == 10
    lines = _safety_pictures.found({"requests": (y, p), "wiki": (1 - y, p)})
    assert lines.count("<polyline") == 2 and "<title>wiki, n 80</title>" in lines
