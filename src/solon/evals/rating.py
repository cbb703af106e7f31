"""Blind rating: tasks that hide who wrote what, ratings that say who rated, and whether a batch may be believed.

A rater sees a prompt and two replies, (a) and (b), in an order drawn by name, and nothing else. Some tasks come twice with
the sides swapped, some have an answer that anyone who reads must see; neither is marked. What is hidden stands in the
key, which is joined to the ratings only once they are in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from solon.core.artifacts import digest
from solon.core.errors import DataError, nearest
from solon.core.keys import rng, seed_of
from solon.core.records import Conversation
from solon.evals.agreement import cohen_kappa, fleiss_kappa, gwet_ac1, krippendorff_alpha
from solon.evals.judged import prediction_powered_mean
from solon.evals.statistics import Figure, mean, proportion
from solon.evals.statistics.figures import Comparison
from solon.evals.statistics.wins import win_comparison

Choice = Literal["a", "b", "tie"]
Who = Literal["any", "human", "model"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
KIND = re.compile(r"human|model:\S.*")
SCALES = ("helpfulness", "informativeness", "accuracy")
STEPS = range(1, 6)
AGREEMENT = 0.7
ATTENTION = 0.8
FEWEST_WORDS = 8  # of a reply that is scrambled for an attention check
FIRST, SECOND, TIE = "first", "second", "tie"


@dataclass(frozen=True)
class Pair:
    """Two replies to one prompt, and who wrote each."""

    id: str
    prompt: Conversation
    first: str
    second: str
    writers: tuple[str, str] = (FIRST, SECOND)


@dataclass(frozen=True)
class Task:
    """All that a rater sees."""

    task: str
    prompt: Conversation
    a: str
    b: str


@dataclass(frozen=True)
class Key:
    """What a task hides: its item, whether its sides are swapped (the pair's second reply stands at a), which task it
    repeats, and which side is right if it is an attention check."""

    task: str
    item: str
    swapped: bool
    repeats: str = ""
    check: str = ""


@dataclass(frozen=True)
class Batch:
    """Tasks in the order in which they are shown, their keys, and the pairs by id."""

    seed: int
    tasks: tuple[Task, ...]
    keys: tuple[Key, ...]
    pairs: Mapping[str, Pair]
    raters: Who = "any"


@dataclass(frozen=True)
class Rating:
    """One rater's choice for one task; `kind` is `human` or `model:NAME`. `scales` holds marks from 1 to 5 by side and
    scale, such as `a_helpfulness`."""

    task: str
    rater: str
    kind: str
    choice: Choice
    scales: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Rater:
    """How carefully one rater worked: the share of attention checks passed and of repeats answered alike."""

    name: str
    kind: str
    rated: int
    attention: Figure | None
    consistency: Figure | None
    excluded: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether a batch may be used, and why not. `agreement` is over all raters that count, `by_kind` among humans and
    among models alone. `preference` (the second writer against the first) and `scales` (mean marks of each writer) are
    told only of a batch that was accepted. `ac1` is Gwet's coefficient, which stays high where nearly everybody chose alike and
    kappa falls or is undefined: it explains a rejection and never lifts one. `powered`: where people rated some
    items of an accepted batch and models more, the people's preference for the second writer, sharpened by the models'."""

    accepted: bool
    reasons: tuple[str, ...]
    items: int
    raters: tuple[Rater, ...]
    agreement: Figure | None
    by_kind: dict[str, Figure | None]
    rater_kind: str
    preference: Comparison | None
    scales: dict[str, Figure]
    ac1: Figure | None = None
    powered: Figure | None = None


@dataclass(frozen=True)
class Outcome:
    """What the counted raters say of one item: votes for the first reply, the second, and ties."""

    item: str
    first: int
    second: int
    ties: int

    @property
    def p_first(self) -> float:
        """The share of votes for the first reply, ties as half."""
        return (self.first + self.ties / 2) / (self.first + self.second + self.ties)


def draw(
    pairs: Sequence[Pair],
    seed: int,
    count: int | None = None,
    repeats: float = 0.1,
    checks: float = 0.1,
    raters: Who = "any",
) -> Batch:
    """A batch of `count` pairs (all if None) with hidden repeats and attention checks as shares of that count.

    Everything is drawn from names: the same pairs and seed give the same batch, and adding a pair does not turn the
    sides of the others. Raises `DataError` where there are too few pairs."""
    known = _known(pairs)
    wanted = len(pairs) if count is None else count
    if not 0 < wanted <= len(pairs) or not (0 <= repeats <= 0.5 and 0 <= checks <= 0.5):
        got = f"{wanted} of {len(pairs)} pairs, repeats {repeats}, checks {checks}"
        raise DataError("such a batch cannot be drawn", got=got, expected="as many pairs as asked for; shares up to 0.5")
    chosen = sorted(pairs, key=lambda one: seed_of("rate", seed, "draw", one.id))[:wanted]
    keys = [Key(_id(seed, one.id, "task"), one.id, bool(seed_of("rate", seed, "side", one.id) % 2)) for one in chosen]
    tested = _checked(chosen, seed, round(checks * wanted))
    keys += [Key(_id(seed, one.id, "check"), one.id, False, check="ab"[seed_of("rate", seed, "check", one.id) % 2]) for one in tested]
    keys.sort(key=lambda one: seed_of("rate", seed, "order", one.task))
    # A repeat comes in the second half, of a task in the first: nobody should remember it.
    early = [one for one in keys[: (len(keys) + 1) // 2] if not one.check][: round(repeats * wanted)]
    place = rng("rate", seed, "repeats")
    for one in early:
        again = Key(_id(seed, one.item, "repeat"), one.item, not one.swapped, repeats=one.task)
        keys.insert(int(place.integers(len(keys) * 3 // 4, len(keys) + 1)), again)
    return Batch(seed, tuple(_task(key, known[key.item], seed) for key in keys), tuple(keys), known, raters)


def judge(batch: Batch, ratings: Sequence[Rating], partial: bool = False, attention: float = ATTENTION) -> Verdict:
    """Whether the batch may be used: enough careful raters, and agreement beyond chance above 0.7.

    Two raters are compared by Cohen's kappa, more by Fleiss', and where ratings are missing (`partial`) by Krippendorff's
    alpha. Raises `DataError` for ratings that cannot be right (see `validate`)."""
    validate(batch, ratings, partial)
    keys = {key.task: key for key in batch.keys}
    by_rater: dict[str, list[Rating]] = {}
    for one in ratings:
        by_rater.setdefault(one.rater, []).append(one)
    raters = tuple(_rater(name, theirs, keys, attention) for name, theirs in sorted(by_rater.items()))
    counted = [one for one in raters if not one.excluded]
    reasons = [f"{one.name} is not counted: {one.excluded}" for one in raters if one.excluded]
    agreement, why = _agreement(batch, ratings, [one.name for one in counted])
    if why:
        reasons.append(why)
    accepted = not why
    kinds = {kind: [one.name for one in counted if one.kind.partition(":")[0] == kind] for kind in ("human", "model")}
    by_kind = {kind: _agreement(batch, ratings, names)[0] for kind, names in kinds.items() if len(names) > 1}
    found = outcomes(batch, ratings, [one.name for one in counted])
    return Verdict(
        accepted, tuple(reasons), len(found), raters, agreement, by_kind, _kind_of(counted),
        _preference(batch, found) if accepted else None,
        _scales(batch, ratings, {one.name for one in counted}) if accepted else {},
        _ac1(batch, ratings, [one.name for one in counted]), _powered(batch, ratings, kinds) if accepted else None,
    )  # fmt: skip


def validate(batch: Batch, ratings: Sequence[Rating], partial: bool = False) -> None:
    """Raises `DataError` for unknown tasks, a task rated twice by one rater, a wrong kind of rater, a rater of two kinds,
    marks out of range, and tasks that a rater left out (unless `partial`)."""
    if not ratings:
        raise DataError("there are no ratings", expected='{"task", "rater", "kind", "choice"} a row')
    tasks, seen = {one.task for one in batch.tasks}, Counter((one.rater, one.task) for one in ratings)
    kinds: dict[str, str] = {}
    for one in ratings:
        where = f"the rating of {one.task!r} by {one.rater!r}"
        if one.task not in tasks:
            raise DataError(f"{where} is of a task that is not in the batch", fix=nearest(one.task, tasks))
        if seen[one.rater, one.task] > 1:
            raise DataError(f"{where} stands there twice", got=f"{seen[one.rater, one.task]} times", fix="keep the one that counts")
        if not one.rater or not KIND.fullmatch(one.kind):
            raise DataError(f"{where} does not say what kind of rater gave it", got=one.kind, expected="human, or model:NAME")
        if batch.raters != "any" and one.kind.partition(":")[0] != batch.raters:
            raise DataError(f"{where} is of the wrong kind for this batch", got=one.kind, expected=batch.raters)
        if kinds.setdefault(one.rater, one.kind) != one.kind:
            got, fix = f"{kinds[one.rater]} and {one.kind}", "give each rater a name of its own"
            raise DataError(f"the rater {one.rater!r} is of two kinds", got=got, fix=fix)
        if one.choice not in CHOICES:
            raise DataError(f"{where} makes no choice", got=one.choice, expected="a, b or tie")
        _check_scales(where, one.scales)
    if not partial:
        for rater in sorted(kinds):
            missing = sorted(task for task in tasks if (rater, task) not in seen)
            if missing:
                got = f"{len(missing)} of {len(tasks)} tasks, {missing[0]} among them"
                raise DataError(f"{rater!r} left tasks out", got=got, fix="rate them, or allow gaps with --partial")


def outcomes(batch: Batch, ratings: Sequence[Rating], raters: Iterable[str]) -> list[Outcome]:
    """Votes an item, from the first showing of each; items that nobody counted has rated are left out."""
    votes: dict[str, Counter[str]] = {}
    for item, _, said in _said(batch, ratings, set(raters)):
        votes.setdefault(item, Counter())[said] += 1
    return [Outcome(item, found[FIRST], found[SECOND], found[TIE]) for item, found in sorted(votes.items())]


def unblinded(batch: Batch, rating: Rating) -> str:
    """Which reply of the pair a rater chose: first, second or tie."""
    key = next(one for one in batch.keys if one.task == rating.task)
    return _chosen(key, rating.choice)


def _known(pairs: Sequence[Pair]) -> dict[str, Pair]:
    known: dict[str, Pair] = {}
    for one in pairs:
        if one.id in known:
            raise DataError(f"two pairs have the id {one.id!r}", fix="give every pair an id of its own")
        if one.first.strip() == one.second.strip() or not one.first.strip() or not one.second.strip():
            raise DataError(f"the pair {one.id!r} has nothing to choose from", got="equal or empty replies")
        known[one.id] = one
    return known


def _checked(chosen: Sequence[Pair], seed: int, count: int) -> list[Pair]:
    """The pairs whose longer reply is shown against its own words in disorder."""
    fit = [one for one in chosen if len(_longer(one).split()) >= FEWEST_WORDS]
    if len(fit) < count:
        got = f"{len(fit)} pairs with a reply of {FEWEST_WORDS} words or more"
        raise DataError("too few replies are long enough for attention checks", got=got, expected=count, fix="ask for fewer checks")
    return sorted(fit, key=lambda one: seed_of("rate", seed, "checked", one.id))[:count]


def _task(key: Key, pair: Pair, seed: int) -> Task:
    if key.check:
        whole = _longer(pair)
        words = whole.split()
        broken = " ".join(words[i] for i in rng("rate", seed, "scramble", pair.id).permutation(len(words)))
        a, b = (whole, broken) if key.check == "a" else (broken, whole)
    else:
        a, b = (pair.second, pair.first) if key.swapped else (pair.first, pair.second)
    return Task(key.task, pair.prompt, a, b)


def _longer(pair: Pair) -> str:
    return max(pair.first, pair.second, key=lambda text: len(text.split()))


def _id(seed: int, item: str, use: str) -> str:
    """A name that tells nothing: repeats and checks look like every other task."""
    return f"t-{digest(['rate', seed, use, item], 10)}"


def _chosen(key: Key, choice: str) -> str:
    if choice == "tie":
        return TIE
    return SECOND if (choice == "a") == key.swapped else FIRST


def _said(batch: Batch, ratings: Sequence[Rating], raters: set[str]) -> list[tuple[str, str, str]]:
    """(item, rater, reply chosen) of the first showing of each item."""
    plain = {key.task: key for key in batch.keys if not key.check and not key.repeats}
    return [
        (plain[one.task].item, one.rater, _chosen(plain[one.task], one.choice))
        for one in ratings if one.task in plain and one.rater in raters
    ]  # fmt: skip


def _rater(name: str, theirs: Sequence[Rating], keys: Mapping[str, Key], bar: float) -> Rater:
    said = {one.task: one.choice for one in theirs}
    passed = [choice == keys[task].check for task, choice in said.items() if keys[task].check]
    twice = [(keys[task], keys[keys[task].repeats]) for task in said if keys[task].repeats and keys[task].repeats in said]
    alike = [_chosen(again, said[again.task]) == _chosen(once, said[once.task]) for again, once in twice]
    attention, consistency = (proportion(found) if found else None for found in (passed, alike))
    low = attention is not None and attention.value < bar
    why = f"{sum(passed)} of {len(passed)} attention checks passed, {bar:.0%} are needed" if low else ""
    return Rater(name, theirs[0].kind, len(theirs), attention, consistency, why)


def _agreement(batch: Batch, ratings: Sequence[Rating], names: Sequence[str]) -> tuple[Figure | None, str]:
    """The coefficient, and what is wrong with it."""
    if len(names) < 2:
        return None, f"agreement needs two raters that count, and there {'is 1' if len(names) == 1 else 'are none'}"
    rows, label = _table(batch, ratings, names), f"rating {batch.seed}"
    try:
        if any(None in row for row in rows):
            found = krippendorff_alpha(rows, name=label)
        elif len(names) == 2:
            found = cohen_kappa([row[0] for row in rows], [row[1] for row in rows], label)
        else:
            found = fleiss_kappa(rows, label)
    except DataError as error:
        return None, f"agreement cannot be measured: {str(error).splitlines()[0]}"
    what = found.how.split(",")[0]
    low = f"{what} is {found.value:.2f} (95 % CI {found.low:.2f} to {found.high:.2f}, {found.n} items); above {AGREEMENT} is needed"
    return found, "" if found.value > AGREEMENT else low


def _table(batch: Batch, ratings: Sequence[Rating], names: Sequence[str]) -> list[list[str | None]]:
    """One row an item, one place a rater; None where the rater left the item out."""
    table: dict[str, dict[str, str]] = {}
    for item, rater, said in _said(batch, ratings, set(names)):
        table.setdefault(item, {})[rater] = said
    return [[row.get(name) for name in names] for _, row in sorted(table.items())]


def _ac1(batch: Batch, ratings: Sequence[Rating], names: Sequence[str]) -> Figure | None:
    """None where no two raters that count have rated an item."""
    rows = _table(batch, ratings, names) if len(names) > 1 else []
    if not any(sum(one is not None for one in row) > 1 for row in rows):
        return None
    return gwet_ac1(rows, f"rating {batch.seed} ac1")


def _kind_of(raters: Sequence[Rater]) -> str:
    """`human` only where every rater that counts is one."""
    kinds = sorted({one.kind for one in raters})
    return " and ".join(kinds)


def _preference(batch: Batch, found: Sequence[Outcome]) -> Comparison | None:
    """The majority of each item, where all pairs are of the same two writers."""
    if len({pair.writers for pair in batch.pairs.values()}) != 1:
        return None
    return win_comparison([(0.5 if one.p_first == 0.5 else float(one.p_first < 0.5)) for one in found])


def _powered(batch: Batch, ratings: Sequence[Rating], kinds: Mapping[str, Sequence[str]]) -> Figure | None:
    """None unless at least two items were rated by people and models, and two by models alone. Tasks come in an order drawn by
    seed, so that whoever stopped early rated a random part."""
    if len({pair.writers for pair in batch.pairs.values()}) != 1:
        return None
    people, models = ({one.item: 1 - one.p_first for one in outcomes(batch, ratings, kinds[kind])} for kind in ("human", "model"))
    both, rest = [item for item in people if item in models], [item for item in models if item not in people]
    if min(len(both), len(rest)) < 2:
        return None
    return prediction_powered_mean([people[item] for item in both], [models[item] for item in both], [models[item] for item in rest])


def _scales(batch: Batch, ratings: Sequence[Rating], counted: set[str]) -> dict[str, Figure]:
    """Mean mark of each writer on each scale, with the interval over items."""
    marks: dict[str, tuple[list[float], list[str]]] = {}
    keys = {key.task: key for key in batch.keys if not key.check and not key.repeats}
    for one in ratings:
        key = keys.get(one.task)
        if key is None or one.rater not in counted:
            continue
        for name, mark in one.scales.items():
            side, _, scale = name.partition("_")
            writer = batch.pairs[key.item].writers[_chosen(key, side) == SECOND]
            values, items = marks.setdefault(f"{scale}, {writer}", ([], []))
            values.append(float(mark))
            items.append(key.item)
    return {name: mean(values, items, name=name) for name, (values, items) in sorted(marks.items())}


def _check_scales(where: str, scales: Mapping[str, int]) -> None:
    allowed = [f"{side}_{scale}" for side in ("a", "b") for scale in SCALES]
    for name, mark in scales.items():
        if name not in allowed:
            raise DataError(f"{where} has an unknown scale", got=name, fix=nearest(name, allowed))
        if isinstance(mark, bool) or mark not in STEPS:
            raise DataError(f"{where} has a mark out of range", got=f"{name}: {mark}", expected="1, 2, 3, 4 or 5")
