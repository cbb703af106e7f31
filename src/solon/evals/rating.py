"""Blind rating: tasks that hide who wrote what, ratings that say who rated, and whether a batch may be believed.

A rater sees a prompt and two replies, (a) and (b), in an order drawn by name, and nothing else. Some tasks come twice with
the sides swapped, some have an answer that anyone who reads must see; neither is marked. What is hidden stands in the
key, which is joined to the ratings only once they are in. Pairs in which there is nothing to choose (equal replies, or an
empty one) are shown to nobody, and count as what they are: a tie, or a loss of the empty reply.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
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
CONSISTENCY = 0.6  # of repeats; whoever presses one side whatever is shown has 0, whoever guesses has a half
FEWEST_HIDDEN = 3  # attention checks, and repeats, of a batch; and of both together that a rater has to have rated
FEWEST_ITEMS, OVERLAP = 20, 0.25  # items that two raters must have rated, and their share of the batch
FEWEST_WORDS = 8  # different ones, of a reply that is scrambled for an attention check
SCRAMBLES = 8  # tries to find an order that keeps few neighbours
FIRST, SECOND, TIE = "first", "second", "tie"
OUTCOMES = {FIRST: 0.0, TIE: 0.5, SECOND: 1.0}


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
    """Tasks in the order in which they are shown, their keys, and the pairs by id. `settled` counts the pairs that were drawn
    and left nothing to choose, by who wins: first, second or tie."""

    seed: int
    tasks: tuple[Task, ...]
    keys: tuple[Key, ...]
    pairs: Mapping[str, Pair]
    raters: Who = "any"
    settled: Mapping[str, int] = field(default_factory=dict)


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
    items of an accepted batch and models more, the people's preference for the second writer, sharpened by the models'.
    `scale_agreement`: for each scale, how far the marks of those that count agree by rank (Krippendorff's alpha, ordinal; one
    unit a reply); a scale on which no reply has two marks, or all are equal, is left out."""

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
    scale_agreement: dict[str, Figure] = field(default_factory=dict)


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
    """A batch of `count` pairs that can be told apart (all if None) with hidden repeats and attention checks as shares of that
    count, and at least `FEWEST_HIDDEN` of each. Only checks may be left out, by a share of 0: replies may be too short for them.

    Everything is drawn from names: the same pairs and seed give the same batch, and adding a pair does not turn the
    sides of the others. Raises `DataError` where there are too few pairs."""
    known = _known(pairs)
    wanted = len(known) if count is None else count
    if not 0 < wanted <= len(known) or not (0 <= repeats <= 0.5 and 0 <= checks <= 0.5):
        got = f"{wanted} of {len(known)} pairs that can be told apart, repeats {repeats}, checks {checks}"
        raise DataError("such a batch cannot be drawn", got=got, expected="as many pairs as asked for; shares up to 0.5")
    chosen, settled = _chosen_pairs(pairs, known, seed, wanted)
    keys = [Key(_id(seed, one.id, "task"), one.id, bool(seed_of("rate", seed, "side", one.id) % 2)) for one in chosen]
    tested = _checked(chosen, seed, _at_least(checks, wanted) if checks else 0)
    # The right sides take turns, so that whoever always presses the same one fails half of the checks.
    keys += [Key(_id(seed, one.id, "check"), one.id, False, check="ab"[(place + seed) % 2]) for place, one in enumerate(tested)]
    keys.sort(key=lambda one: seed_of("rate", seed, "order", one.task))
    # A repeat comes in the last quarter, of one of the earliest tasks: nobody should remember it.
    early = [one for one in keys if not one.check][: _at_least(repeats, wanted)]
    place = rng("rate", seed, "repeats")
    for one in early:
        again = Key(_id(seed, one.item, "repeat"), one.item, not one.swapped, repeats=one.task)
        keys.insert(int(place.integers(max(len(keys) * 3 // 4, keys.index(one) + 1), len(keys) + 1)), again)
    return Batch(seed, tuple(_task(key, known[key.item], seed) for key in keys), tuple(keys), known, raters, settled)


def judge(batch: Batch, ratings: Sequence[Rating], partial: bool = False, attention: float = ATTENTION) -> Verdict:
    """Whether the batch may be used: enough careful raters, enough items that two of them have rated, and agreement beyond
    chance above 0.7. A rater below 80 % of attention checks or 60 % of repeats, or who met too few of both, is not counted.

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
        _scale_agreement(batch, ratings, [one.name for one in counted]),
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
    """The pairs that leave something to choose, by id."""
    twice = [id for id, often in Counter(one.id for one in pairs).items() if often > 1]
    if twice:
        raise DataError(f"two pairs have the id {twice[0]!r}", fix="give every pair an id of its own")
    return {one.id: one for one in pairs if not settled(one)}


def settled(pair: Pair) -> str:
    """Who wins without being read: an empty reply loses, equal ones tie. Empty where there is something to choose."""
    first, second = pair.first.strip(), pair.second.strip()
    if first == second:
        return TIE
    return "" if first and second else FIRST if first else SECOND


def _chosen_pairs(pairs: Sequence[Pair], known: Mapping[str, Pair], seed: int, wanted: int) -> tuple[list[Pair], dict[str, int]]:
    """So many pairs to be shown, and how the pairs drawn before the last of them are settled: at the same rate, so that a
    preference over all of them is one over all pairs. Where all are shown, all that are settled count."""
    chosen: list[Pair] = []
    found: Counter[str] = Counter()
    for one in sorted(pairs, key=lambda one: seed_of("rate", seed, "draw", one.id)):
        if len(chosen) == wanted < len(known):
            break
        if one.id in known:
            chosen.append(one)
        else:
            found[settled(one)] += 1
    return chosen, dict(sorted(found.items()))


def _at_least(share: float, wanted: int) -> int:
    return max(round(share * wanted), min(FEWEST_HIDDEN, wanted))


def _checked(chosen: Sequence[Pair], seed: int, count: int) -> list[Pair]:
    """The pairs of which a reply is shown against its own words in disorder."""
    fit = [one for one in chosen if _scrambled(one, seed)] if count else []
    if len(fit) < count:
        got = f"{len(fit)} pairs with a reply of {FEWEST_WORDS} different words or more that read badly in disorder"
        fix = "draw pairs with longer replies, or --checks 0, which leaves it to the repeats to show who reads"
        raise DataError("too few replies can be used for attention checks", got=got, expected=count, fix=fix)
    return sorted(fit, key=lambda one: seed_of("rate", seed, "checked", one.id))[:count]


def _scrambled(pair: Pair, seed: int) -> tuple[str, str] | None:
    """The longer of the replies that can be scrambled, and its words in an order that keeps at most half of the neighbours.
    None where no reply has enough different words, or hardly any order differs ("no no no ...")."""
    for text in sorted((pair.first, pair.second), key=lambda text: -len(text.split())):
        words = text.split()
        if len({word.casefold() for word in words}) < FEWEST_WORDS:
            continue
        beside, draw = Counter(pairwise(text.casefold().split())), rng("rate", seed, "scramble", pair.id)
        for _ in range(SCRAMBLES):
            broken = " ".join(words[i] for i in draw.permutation(len(words)))
            if (Counter(pairwise(broken.casefold().split())) & beside).total() <= beside.total() / 2:
                return text, broken
    return None


def _task(key: Key, pair: Pair, seed: int) -> Task:
    made = _scrambled(pair, seed) if key.check else None
    if made:
        a, b = made if key.check == "a" else made[::-1]
    else:
        a, b = (pair.second, pair.first) if key.swapped else (pair.first, pair.second)
    return Task(key.task, pair.prompt, a, b)


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
    why = ""
    if len(passed) + len(alike) < FEWEST_HIDDEN:
        why = f"{len(passed) + len(alike)} attention checks and repeats rated, {FEWEST_HIDDEN} are needed"
    elif attention is not None and attention.value < bar:
        why = f"{sum(passed)} of {len(passed)} attention checks passed, {bar:.0%} are needed"
    elif consistency is not None and consistency.value < CONSISTENCY:
        why = f"{sum(alike)} of {len(alike)} repeats answered alike with the sides swapped, {CONSISTENCY:.0%} are needed"
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
    few = _too_few(batch, rows)
    what = found.how.split(",")[0]
    low = f"{what} is {found.value:.2f} (95 % CI {found.low:.2f} to {found.high:.2f}, {found.n} items); above {AGREEMENT} is needed"
    return found, few or ("" if found.value > AGREEMENT else low)


def _too_few(batch: Batch, rows: Sequence[Sequence[str | None]]) -> str:
    """Why agreement on these rows says nothing of the batch: hardly an item was rated by two."""
    several, shown = sum(sum(one is not None for one in row) > 1 for row in rows), _shown(batch)
    needed = min(shown, max(FEWEST_ITEMS, math.ceil(OVERLAP * shown)))
    if several >= needed:
        return ""
    return f"{several} of {shown} items were rated by two raters that count; {needed} are needed ({OVERLAP:.0%}, and {FEWEST_ITEMS} or all)"


def _shown(batch: Batch) -> int:
    """How many items the batch shows."""
    return sum(not key.check and not key.repeats for key in batch.keys)


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
    """The majority of each item, where all pairs are of the same two writers; pairs that are settled count, too."""
    if len({pair.writers for pair in batch.pairs.values()}) != 1:
        return None
    unread = _settled(batch, len(found))
    one = win_comparison([(0.5 if one.p_first == 0.5 else float(one.p_first < 0.5)) for one in found] + unread)
    told = f"; {len(found)} pairs read, and without being read {unread.count(0.5)} equal ones as ties and {len(unread) - unread.count(0.5)} with one empty reply"
    return replace(one, test=one.test + told) if unread else one


def _settled(batch: Batch, rated: int) -> list[float]:
    """Outcomes for the second of the pairs that left nothing to choose. Where only some of the items were rated, as large
    a part of these counts: else they would weigh more than what was read."""
    return [OUTCOMES[who] for who, often in batch.settled.items() for _ in range(round(often * rated / _shown(batch)))]


def _powered(batch: Batch, ratings: Sequence[Rating], kinds: Mapping[str, Sequence[str]]) -> Figure | None:
    """None unless at least two items were rated by people and models, and two by models alone. Tasks come in an order drawn by
    seed, so that whoever stopped early rated a random part. Of a settled pair both are known to say the same."""
    if len({pair.writers for pair in batch.pairs.values()}) != 1:
        return None
    people, models = ({one.item: 1 - one.p_first for one in outcomes(batch, ratings, kinds[kind])} for kind in ("human", "model"))
    both, rest = [item for item in people if item in models], [item for item in models if item not in people]
    if min(len(both), len(rest)) < 2:
        return None
    read, unread = _settled(batch, len(both)), _settled(batch, len(rest))
    return prediction_powered_mean([people[item] for item in both] + read, [models[item] for item in both] + read, [models[item] for item in rest] + unread)


def _scales(batch: Batch, ratings: Sequence[Rating], counted: set[str]) -> dict[str, Figure]:
    """Mean mark of each writer on each scale, with the interval over items."""
    marks: dict[str, tuple[list[float], list[str]]] = {}
    for scale, item, reply, rater, mark in _marked(batch, ratings):
        if rater in counted:
            writer = batch.pairs[item].writers[reply == SECOND]
            values, items = marks.setdefault(f"{scale}, {writer}", ([], []))
            values.append(float(mark))
            items.append(item)
    return {name: mean(values, items, name=name) for name, (values, items) in sorted(marks.items())}


def _scale_agreement(batch: Batch, ratings: Sequence[Rating], names: Sequence[str]) -> dict[str, Figure]:
    tables: dict[str, dict[tuple[str, str], dict[str, int]]] = {}
    for scale, item, reply, rater, mark in _marked(batch, ratings):
        tables.setdefault(scale, {}).setdefault((item, reply), {})[rater] = mark
    found = {}
    for scale, table in sorted(tables.items()):
        rows = [[row.get(name) for name in names] for _, row in sorted(table.items())]
        with suppress(DataError):
            found[scale] = krippendorff_alpha(rows, "ordinal", f"rating {batch.seed} {scale}")
    return found


def _marked(batch: Batch, ratings: Sequence[Rating]) -> Iterator[tuple[str, str, str, str, int]]:
    """(scale, item, reply, rater, mark) of the first showing of each item; the reply is first or second of its pair."""
    keys = {key.task: key for key in batch.keys if not key.check and not key.repeats}
    for one in ratings:
        for name, mark in one.scales.items() if one.task in keys else ():
            side, _, scale = name.partition("_")
            yield scale, keys[one.task].item, _chosen(keys[one.task], "a" if side == "a" else "b"), one.rater, mark


def _check_scales(where: str, scales: Mapping[str, int]) -> None:
    allowed = [f"{side}_{scale}" for side in ("a", "b") for scale in SCALES]
    for name, mark in scales.items():
        if name not in allowed:
            raise DataError(f"{where} has an unknown scale", got=name, fix=nearest(name, allowed))
        if isinstance(mark, bool) or mark not in STEPS:
            raise DataError(f"{where} has a mark out of range", got=f"{name}: {mark}", expected="1, 2, 3, 4 or 5")
