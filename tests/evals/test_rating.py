"""Blind rating: what a rater sees, what is hidden, and which batches are refused."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from solon.core.errors import DataError
from solon.core.keys import rng
from solon.core.records import user
from solon.evals import rating as r
from solon.evals.agreement import gwet_ac1

WORDS = "the kettle boils slowly while a patient cook grates yellow cheese over warm bread and hums".split()


def pairs(n=60):
    draw = rng("pairs")
    text = lambda: " ".join(draw.permutation(WORDS)[:10])  # noqa: E731
    return [r.Pair(f"p{i}", user(f"Request {i}?"), f"{text()} one", f"{text()} two", ("base", "aligned")) for i in range(n)]


def rated(batch, raters, better=0.9, careful=1.0, flip=0.05, salt=""):
    """Raters who read: `better` is the chance that an item's second reply is the better one."""
    truth = {item: rng(salt, "truth", item).random() < better for item in batch.pairs}
    found = []
    for name, kind in raters.items():
        for key in batch.keys:
            draw = rng(salt, name, key.item, key.repeats)
            if key.check:
                right = draw.random() < careful
                choice = key.check if right else "ab"[key.check == "a"]
            else:
                second = truth[key.item] != (draw.random() < flip)
                choice = "a" if second == key.swapped else "b"
            found.append(r.Rating(key.task, name, kind, choice))
    return found


HUMANS = {"anna": "human", "ben": "human"}


def test_a_rater_sees_nothing_that_tells():
    batch = r.draw(pairs(), seed=3, count=50, repeats=0.2, checks=0.2)
    assert len(batch.tasks) == 70 and len({one.task for one in batch.tasks}) == 70
    assert Counter((bool(k.repeats), bool(k.check)) for k in batch.keys) == {(False, False): 50, (True, False): 10, (False, True): 10}
    shown = json.dumps([vars(one) for one in batch.tasks], default=str)
    assert "base" not in shown and "aligned" not in shown and "swapped" not in shown
    assert all(one.task.startswith("t-") and len(one.task) == 12 for one in batch.tasks), "repeats and checks look alike"
    swapped = sum(key.swapped for key in batch.keys if not key.check and not key.repeats)
    assert 12 <= swapped <= 38, "about half"


def test_sides_and_repeats_are_what_the_key_says():
    batch = r.draw(pairs(), seed=3, repeats=0.2)
    place, known = {one.task: i for i, one in enumerate(batch.tasks)}, {key.task: key for key in batch.keys}
    for task, key in zip(batch.tasks, batch.keys, strict=True):
        pair = batch.pairs[key.item]
        assert task.task == key.task and task.prompt == pair.prompt
        if key.check:
            whole = getattr(task, key.check)
            other = task.b if key.check == "a" else task.a
            assert whole in (pair.first, pair.second) and sorted(whole.split()) == sorted(other.split()) and whole != other
        else:
            assert (task.a, task.b) == ((pair.second, pair.first) if key.swapped else (pair.first, pair.second))
        if key.repeats:
            once = known[key.repeats]
            assert once.item == key.item and once.swapped != key.swapped and place[key.task] > place[key.repeats] + 5


def test_the_same_seed_draws_the_same_batch():
    assert r.draw(pairs(), 5, 30) == r.draw(pairs()[::-1], 5, 30)
    assert r.draw(pairs(), 5, 30).tasks != r.draw(pairs(), 6, 30).tasks
    sides = lambda batch: {k.item: k.swapped for k in batch.keys if not k.check and not k.repeats}  # noqa: E731
    few, many = sides(r.draw(pairs(40), 5)), sides(r.draw(pairs(60), 5))
    assert all(many[item] == side for item, side in few.items()), "more pairs do not turn the sides of the others"


def test_careful_raters_are_believed():
    batch = r.draw(pairs(), seed=1, repeats=0.2, checks=0.2)
    found = r.judge(batch, rated(batch, HUMANS, better=0.6, flip=0.03))
    assert found.accepted and found.reasons == () and found.agreement.value > 0.7 and "Cohen" in found.agreement.how
    assert found.rater_kind == "human" and set(found.by_kind) == {"human"} and found.items == 60
    rows = [[one.choice for one in rated(batch, HUMANS, better=0.6, flip=0.03) if one.task == key.task] for key in batch.keys if not key.check and not key.repeats]
    assert found.ac1.value == pytest.approx(gwet_ac1([row for row in rows if len(row) == 2]).value, abs=0.02), "sides turned change chance a little"
    anna = found.raters[0]
    assert (anna.name, anna.rated) == ("anna", 84) and anna.attention.value == 1 and anna.consistency.value > 0.8
    assert found.preference.n == 60 and abs(found.preference.difference - 0.1) < 0.2


def test_the_second_writer_wins_whatever_the_sides():
    batch = r.draw(pairs(), seed=1)
    found = r.judge(batch, rated(batch, HUMANS, better=0.75, flip=0.0))
    assert found.agreement.value == 1.0 and found.preference.difference > 0.1 and found.preference.plain.startswith("wins")


def test_agreement_at_or_below_the_bar_is_rejected_with_the_reason():
    batch = r.draw(pairs(), seed=1)
    found = r.judge(batch, rated(batch, HUMANS, better=0.5, flip=0.25))
    assert not found.accepted and found.preference is None and found.scales == {}
    assert "Cohen's kappa is" in found.reasons[0] and "above 0.7 is needed" in found.reasons[0]
    exactly = r.AGREEMENT
    assert found.agreement.value <= exactly


def test_all_the_same_choice_is_no_agreement():
    """Everybody prefers the second reply: nothing shows that anybody read."""
    batch = r.draw(pairs(), seed=1)
    found = r.judge(batch, rated(batch, HUMANS, better=1.0, flip=0.0))
    assert not found.accepted and "cannot be measured" in found.reasons[0]
    assert found.ac1.value == 1.0, "AC1 says that they agreed, and lifts no rejection"


def test_a_careless_rater_is_not_counted():
    batch = r.draw(pairs(), seed=1, checks=0.3)
    given = rated(batch, HUMANS, better=0.5, flip=0.02) + rated(batch, {"cat": "human"}, careful=0.4, flip=0.5)
    found = r.judge(batch, given)
    assert found.accepted and [one.name for one in found.raters if one.excluded] == ["cat"]
    assert "cat is not counted" in found.reasons[0] and "attention checks" in found.reasons[0] and "Cohen" in found.agreement.how
    alone = r.judge(batch, [one for one in given if one.rater != "ben"])
    assert not alone.accepted and "needs two raters" in alone.reasons[-1]


def test_three_raters_of_two_kinds_and_gaps():
    batch = r.draw(pairs(), seed=1)
    given = rated(batch, {**HUMANS, "bot": "model:probe"}, better=0.5, flip=0.03)
    found = r.judge(batch, given)
    assert "Fleiss" in found.agreement.how and found.rater_kind == "human and model:probe" and set(found.by_kind) == {"human"}
    gaps = [one for place, one in enumerate(given) if place % 7]
    with pytest.raises(DataError, match="left tasks out"):
        r.judge(batch, gaps)
    assert "Krippendorff" in r.judge(batch, gaps, partial=True).agreement.how


def test_models_that_rated_more_sharpen_what_people_say():
    """Anna stops early; the model agrees with her nearly always, so the interval is narrower than her own items give."""
    batch = r.draw(pairs(200), seed=1)
    given = rated(batch, {"anna": "human", "bot": "model:probe"}, better=0.6, flip=0.0)
    first = [key.task for key in batch.keys if not key.check][:60]
    early = {key.task for key in batch.keys[: [key.task for key in batch.keys].index(first[-1]) + 1]}
    found = r.judge(batch, [one for one in given if one.kind != "human" or one.task in early], partial=True)
    whole = {one.item: 1 - one.p_first for one in r.outcomes(batch, given, ["bot"])}
    assert found.accepted and found.powered.n == len(whole) and "60 labelled" in found.powered.how
    own = [1 - one.p_first for one in r.outcomes(batch, [one for one in given if one.task in early], ["anna"])]
    assert len(own) == 60 and found.raters[0].consistency is None, "she met no repeat, and three checks or more"
    plain = 2 * 1.96 * (sum((x - sum(own) / 60) ** 2 for x in own) / 59 / 60) ** 0.5
    assert found.powered.high - found.powered.low < 0.75 * plain
    assert found.powered.low < sum(whole.values()) / len(whole) < found.powered.high
    assert r.judge(batch, given).powered is None, "nothing is left for the model alone"


def test_outcomes_and_scales():
    batch = r.draw(pairs(8), seed=1, repeats=0, checks=0)
    marks = {"a_helpfulness": 5, "b_helpfulness": 2}
    given = [
        r.Rating(key.task, name, "human", ("b" if key.swapped else "a") if key.item < "p4" else ("a" if key.swapped else "b"),
                 marks if not key.swapped else {"a_helpfulness": 2, "b_helpfulness": 5})
        for key in batch.keys for name in HUMANS
    ]  # fmt: skip
    votes = {one.item: one for one in r.outcomes(batch, given, HUMANS)}
    assert votes["p0"].p_first == 1 and votes["p7"].p_first == 0 and votes["p0"].first == 2
    scales = r.judge(batch, given).scales
    assert scales["helpfulness, base"].value == 5 and scales["helpfulness, aligned"].value == 2
    tied = [replace(one, choice="tie") for one in given]
    assert all(one.p_first == 0.5 for one in r.outcomes(batch, tied, HUMANS))


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda one: replace(one, task="t-0000000000"), "not in the batch"),
        (lambda one: replace(one, kind="robot"), "what kind of rater"),
        (lambda one: replace(one, kind="model:"), "what kind of rater"),
        (lambda one: replace(one, kind="model:probe"), "two kinds"),
        (lambda one: replace(one, choice="c"), "no choice"),
        (lambda one: replace(one, scales={"a_helpfulness": 6}), "out of range"),
        (lambda one: replace(one, scales={"a_charm": 3}), "unknown scale"),
    ],
)
def test_ratings_that_cannot_be_right_are_refused(spoil, words):
    batch = r.draw(pairs(20), seed=1)
    given = rated(batch, HUMANS)
    with pytest.raises(DataError, match=words):
        r.judge(batch, [spoil(given[0]), *given[1:]])


def test_other_bad_input():
    batch = r.draw(pairs(20), seed=1, raters="human")
    given = rated(batch, HUMANS)
    with pytest.raises(DataError, match="twice"):
        r.judge(batch, [*given, given[0]])
    with pytest.raises(DataError, match="wrong kind for this batch"):
        r.judge(batch, rated(batch, {"bot": "model:probe"}))
    with pytest.raises(DataError, match="no ratings"):
        r.judge(batch, [])
    with pytest.raises(DataError, match="cannot be drawn"):
        r.draw(pairs(5), 1, 6)
    with pytest.raises(DataError, match="have the id"):
        r.draw([*pairs(3), pairs(1)[0]], 1)
    with pytest.raises(DataError, match="cannot be drawn"):
        r.draw([replace(pairs(1)[0], second=" ")], 1)
    for first, second in (("yes", "no"), ("no " * 50, "yes " * 40)):
        with pytest.raises(DataError, match="too few replies can be used"):
            r.draw([r.Pair(str(i), user("?"), first, second) for i in range(10)], 1)


def test_two_items_rated_alike_are_no_agreement():
    """With gaps allowed, one rater of forty items and another of two of them agreed wholly."""
    batch = r.draw(pairs(40), seed=1)
    given = rated(batch, HUMANS, better=0.6, flip=0.0)
    hidden = {key.task for key in batch.keys if key.check}
    plain = [key.task for key in batch.keys if not key.check and not key.repeats]
    for count, accepted in ((2, False), (19, False), (20, True)):
        shared = hidden | set(plain[:count])
        found = r.judge(batch, [one for one in given if one.rater == "anna" or one.task in shared], partial=True)
        assert found.accepted == accepted and found.agreement.n == count and found.agreement.value == 1.0
        assert accepted or found.reasons[-1].startswith(f"{count} of 40 items were rated by two raters that count; 20 are needed")
    large = r.draw(pairs(120), seed=1)
    some = hidden_and(large, 29)
    found = r.judge(large, [one for one in rated(large, HUMANS, flip=0.0, better=0.6) if one.rater == "anna" or one.task in some], partial=True)
    assert not found.accepted and "30 are needed" in found.reasons[-1], "a quarter of a large batch"


def hidden_and(batch, count):
    """The batch's checks and so many of its items."""
    plain = [key.task for key in batch.keys if not key.check and not key.repeats]
    return {key.task for key in batch.keys if key.check} | set(plain[:count])


@pytest.mark.parametrize("side", ["a", "b", "tie"])
@pytest.mark.parametrize("n", [4, 12, 40])
@pytest.mark.parametrize("checks", [0, 0.1])
def test_raters_who_always_press_the_same_are_not_believed(side, n, checks):
    """Their choices agree wholly, and say nothing."""
    for seed in range(5):
        batch = r.draw(pairs(n), seed, checks=checks)
        found = r.judge(batch, [r.Rating(one.task, name, "human", side) for one in batch.tasks for name in HUMANS])
        assert not found.accepted and found.preference is None
        if side != "tie":
            assert all(one.consistency.value == 0 and one.excluded for one in found.raters)


@pytest.mark.parametrize("n", [1, 2, 4, 12])
def test_every_batch_hides_a_few_checks_and_repeats(n):
    batch = r.draw(pairs(n), 2)
    place = {key.task: i for i, key in enumerate(batch.keys)}
    checks, repeats = [key for key in batch.keys if key.check], [key for key in batch.keys if key.repeats]
    assert len(checks) == len(repeats) == min(n, r.FEWEST_HIDDEN)
    assert all(place[key.task] > place[key.repeats] for key in repeats)
    assert abs(2 * sum(key.check == "a" for key in checks) - len(checks)) <= 1, "the right sides take turns"


def test_a_rater_below_the_bar_of_repeats_is_not_counted():
    batch = r.draw(pairs(), seed=1, repeats=0.2, checks=0.2)
    given = rated(batch, HUMANS, better=0.6, flip=0.0)
    turned = [key.task for key in batch.keys if key.repeats]
    fickle = lambda few: [replace(one, choice="ba"[one.choice == "b"]) if one.rater == "ben" and one.task in turned[:few] else one for one in given]  # noqa: E731
    assert r.judge(batch, fickle(4)).accepted, "8 of 12 are 67 %"
    found = r.judge(batch, fickle(5))
    assert not found.accepted and "ben is not counted: 7 of 12 repeats answered alike" in found.reasons[0]


def test_words_said_again_and_again_are_no_attention_check():
    """Careful raters cannot tell "no no no" from its words in disorder, nor nine words before a hundred times "no"."""
    dull = [r.Pair(f"d{i}", user("?"), "no " * 30, "yes " * 20) for i in range(20)]
    tail = [r.Pair(f"t{i}", user("?"), " ".join([*WORDS[:9], *["no"] * 100]), "yes") for i in range(20)]
    batch = r.draw([*dull, *tail, *pairs(20)], 1, checks=0.2)
    checks = [(task, key) for task, key in zip(batch.tasks, batch.keys, strict=True) if key.check]
    assert len(checks) == 12 and all(key.item.startswith("p") for _, key in checks)
    for task, _ in checks:
        a, b = task.a.split(), task.b.split()
        assert len(set(zip(a, a[1:], strict=False)) & set(zip(b, b[1:], strict=False))) <= (len(a) - 1) / 2


def test_equal_and_empty_replies_count_and_are_shown_to_nobody():
    """Fifteen of twenty replies are empty: winning the other five is no "100 %"."""
    def verdict(given, seed=1):
        batch = r.draw(given, seed)
        return batch, r.judge(batch, rated(batch, HUMANS, better=0.5, flip=0.0))

    spoilt = [replace(one, id=f"e{i}", second="") for i, one in enumerate(pairs(15))]
    equal = [replace(one, id=f"q{i}", second=one.first) for i, one in enumerate(pairs(10))]
    both = [replace(one, id=f"b{i}", first=" ", second="") for i, one in enumerate(pairs(3))]
    batch, found = verdict([*spoilt, *pairs(40), *equal, *both])
    assert batch.settled == {"first": 15, "tie": 13} and {key.item[0] for key in batch.keys} == {"p"}
    plain = verdict(pairs(40))[1].preference
    assert found.accepted and found.items == 40 and found.preference.n == 68
    assert found.preference.difference * 68 == pytest.approx(plain.difference * 40 - 15 / 2)
    assert "13 equal ones as ties and 15 with one empty reply" in found.preference.test and "read" not in plain.test


def test_pairs_that_need_no_reading_are_drawn_at_the_rate_of_the_others():
    given = [*pairs(60), *(replace(one, id=f"q{i}", second=one.first) for i, one in enumerate(pairs(60)))]
    drawn = [r.draw(given, seed, count=20).settled.get("tie", 0) for seed in range(40)]
    assert 17 < sum(drawn) / 40 < 22 and all(len({key.item for key in r.draw(given, seed, count=20).keys}) == 20 for seed in range(3))
    batch = r.draw(given, 1)
    half = hidden_and(batch, 30)
    found = r.judge(batch, [one for one in rated(batch, HUMANS, better=0.6, flip=0.0) if one.task in half], partial=True)
    assert found.items == 30 and found.preference.n == 60, "half of the items were rated, so half of the others count"


def test_agreement_on_the_scales_is_krippendorffs():
    from krippendorff import alpha

    batch = r.draw(pairs(30), seed=1)
    draw, given, table = rng("marks"), [], {}
    for one in rated(batch, HUMANS, better=0.6, flip=0.0):
        key = next(key for key in batch.keys if key.task == one.task)
        marks = {}
        for side in "ab":
            place = (key.item, (side == "a") == key.swapped)
            truth = 1 + int(rng("mark", *place).integers(5))
            marks[f"{side}_accuracy"] = int(min(5, max(1, truth + draw.integers(-1, 2))))
            if not key.check and not key.repeats:
                table.setdefault(place, {})[one.rater] = marks[f"{side}_accuracy"]
        given.append(replace(one, scales=marks))
    found = r.judge(batch, given)
    rows = [[row[name] for row in table.values()] for name in HUMANS]
    assert set(found.scale_agreement) == {"accuracy"} and found.scale_agreement["accuracy"].n == 60
    assert found.scale_agreement["accuracy"].value == pytest.approx(alpha(rows, level_of_measurement="ordinal"), abs=1e-9)
