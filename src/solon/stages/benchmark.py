"""One benchmark on one model: items asked in their official form, answers graded, figures with intervals as an artifact.

`rows.jsonl` holds every item with what was asked, what came back and its figures; `figures.json` what they come to, by
slice too, beside what guessing gives. All models get the same items, so that two artifacts of one suite can be compared
item by item.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date
from functools import cache, cached_property, partial
from typing import Any, ClassVar

from pydantic import Field

from solon.core.artifacts import Artifact, Draft, Record, Store, file_digest, write_text
from solon.core.config import Config
from solon.core.errors import ConfigError
from solon.core.keys import seed_of
from solon.core.records import Conversation, as_json
from solon.curate import catalogue, rows, shared, starter
from solon.evals import statistics
from solon.evals.asking import Card, Item, Means, Options, Room, Suite, gathered, load, names, needs, scores
from solon.generate.engine import Engine, Request
from solon.models.load import Model
from solon.stages import models
from solon.stages._benchmark_answers import answered
from solon.stages._benchmark_scores import by_group, pictures, scored
from solon.stages._benchmark_window import within
from solon.text.template import encode_chat

VERSION = 1
SHARD = 64  # items that a stopped call can lose
BUNDLES = {
    "capability": ("mmlu", "gsm8k", "humaneval", "mbpp", "ifeval", "literature"),
    "bias": ("bbq", "crows_pairs", "winobias", "winogender", "stereoset", "swaps"),
    "uncertainty": ("confidence", "confidence_mmlu", "confidence_stated", "truthfulqa", "unanswerable"),
    "own": ("hard_choices", "dated_programs", "repairs", "frameworks", "configs", "creative"), "all": (),
}  # fmt: skip
"""Suites under one name; `all` stands for every suite that there is."""


class Benchmark(Config):
    """How much of a suite is asked, and how replies are drawn where the suite leaves that open.

    `limit` takes that many items (groups, where items belong together), chosen by the seed: a smaller limit's items are
    among a larger one's. `since` and `until` keep the items written on those days and between, where the suite has dates."""

    LATER: ClassVar[frozenset[str]] = frozenset({"since", "until"})

    limit: int | None = Field(None, ge=1)
    seed: int = 0
    samples: int = Field(1, ge=1)
    temperature: float = Field(0.0, ge=0, le=5)
    max_tokens: int | None = Field(None, ge=1)
    since: date | None = None
    until: date | None = None


class Subject:
    """A model by name, in the form in which it is asked (`none`, `int8`, `int4`), loaded only when something has to be asked.
    `source` is what artifacts record of it."""

    def __init__(self, name: str, store: Store, quantise: str = models.PLAIN):
        self.name, self.quantise, self._store = name, models.checked_form(quantise), store

    @property
    def form(self) -> dict[str, str]:
        """What settings and facts say beside the name; nothing for the plain form, so that finished artifacts keep their ids."""
        return {} if self.quantise == models.PLAIN else {"quantise": self.quantise}

    @cached_property
    def source(self) -> str:
        return models.source(self.name, self._store)

    @cached_property
    def model(self) -> Model:
        return models.resolve(self.name, self._store, quantise=self.quantise)

    @cached_property
    def engine(self) -> Engine:
        return Engine(self.model)


def chosen_suites(given: str) -> list[str]:
    """`mmlu,gsm8k`, `capability` or `all` as names of suites, each once. Raises `MissingError` with the nearest name."""
    found: list[str] = []
    for name in filter(None, (part.strip() for part in given.split(","))):
        for one in (BUNDLES[name] or names()) if name in BUNDLES else (name,):
            load(one)
            found.append(one)
    if not found:
        raise ConfigError("no suite is named", got=given, expected="one or more of: " + ", ".join(names()))
    return list(dict.fromkeys(found))


def benchmark(
    store: Store, config: Benchmark, name: str, subject: Subject, judge: Subject | None = None, capped: bool = False
) -> Artifact:  # fmt: skip
    """The artifact of one suite on one model, made or found. `judge` grades where the suite asks for one; `capped` lets
    a limit above the size of the set stand for all of it."""
    suite = load(name)
    if config.samples > 1 and config.temperature == 0:
        fix = "give --temperature, for instance 0.8"
        raise ConfigError(f"{config.samples} greedy draws would all be the same", got="temperature 0", fix=fix)
    used = needs(suite)
    runner = sandbox() if "run" in used else None
    harm, head = harmfulness() if "harm" in used else (None, "")
    settings = {
        "suite": name, "suite_version": suite.VERSION, **config.model_dump(mode="json"), **subject.form, "capped": capped,
        "data": {path: digest_of(path) for path in suite.FILES},
        **({"sandbox": runner is not None} if "run" in used else {}), **({"classifier": head} if "harm" in used else {}),
    }  # fmt: skip
    inputs = {"model": subject.source}
    if judge and "judge" in used:
        inputs["judge"] = judge.source
    means = Means(runner, answering(judge) if judge and "judge" in used else None, harm)
    return store.make(
        "benchmark", VERSION, settings, inputs, partial(_build, config, name, suite, subject, means, capped)
    )


def _build(
    config: Benchmark, name: str, suite: Suite, subject: Subject, means: Means, capped: bool, draft: Draft
) -> None:  # fmt: skip
    tokenizer = subject.model.tokenizer
    room = Room(subject.model.arch.context, lambda text: len(tokenizer.encode(text, special=False)))
    data = {path: contents(path) for path in suite.FILES}
    items = taken(list(suite.items(data, config.seed, room)), config, name, capped, draft)
    with draft.progress.task(name, len(items), "item") as advance:
        again = lambda part: shard(config, name, suite, subject, means, part, draft, advance)  # noqa: E731
        made = draft.in_shards("rows", items, SHARD, again)  # a shard's rows, once on disk, are not asked again
    draft.write_rows("rows", made)
    kept = [row for row in made if not row.get("dropped")]
    groups = gathered(suite, kept)
    if groups != kept:
        draft.write_rows("groups", groups)
    found = figures(suite.CARD, groups) | scored(suite.CARD, scores(suite), groups)
    found = {name: found[name] for name in (*suite.CARD.figures, *found) if name in found}
    counts = {
        "items": len(items), "dropped": dict(Counter(row["dropped"] for row in made if row.get("dropped"))),
        "missing": dict(Counter(row["missing"] for row in kept if row.get("missing"))),
        "cut": sum(bool(row.get("cut")) for row in kept),
    }  # fmt: skip
    draft.write("card.json", {"suite": name, **asdict(suite.CARD)})
    parts = by_group(suite.CARD, scores(suite), groups)
    draft.write("figures.json", {"figures": found, "slices": slices(suite.CARD, groups), "groups": parts, "counts": counts})
    if hasattr(suite, "curves"):
        shown = suite.curves(groups)
        draft.write("curves.json", shown)
        for file, drawn in pictures(shown).items():
            write_text(draft.path / file, drawn)
    for figure, value in found.items():
        draft.metric(f"{name} {figure}", **{key: value[key] for key in ("value", "n", "ci", "how", "chance", "target")})
    draft.licences.add(suite.CARD.licence)
    draft.facts |= {"suite": name, "model": subject.name, **subject.form, "counts": counts, "precision": str(subject.model.params["embed"].dtype)}


def taken(items: list[Item], config: Benchmark, name: str, capped: bool, draft: Draft) -> list[Item]:
    """The items that are asked: those of the window, or as many groups of them as the limit says. A limit above the set's
    size, or a window with nothing in it, is refused and leaves nothing behind."""
    try:
        items = within(items, config.since, config.until, name)
    except ConfigError:
        shutil.rmtree(draft.path)
        raise
    units = list(dict.fromkeys(unit(item) for item in items))
    if config.limit is None:
        return items
    if config.limit > len(units) and not capped:
        shutil.rmtree(draft.path)
        fix = f"leave --limit out for all {len(units)}"
        raise ConfigError(f"the suite {name!r} is smaller than that", got=config.limit, expected=f"at most {len(units)}", fix=fix)
    order = sorted(units, key=lambda one: seed_of("limit", config.seed, name, one))
    kept = set(order[: config.limit])
    return [item for item in items if unit(item) in kept]


def unit(item: Item) -> str:
    """What belongs together: the wordings of one request, the rotations of one question; else the item itself."""
    return item.tags.get("group", item.id)


def shard(
    config: Benchmark, name: str, suite: Suite, subject: Subject, means: Means, part: Sequence[Item], draft: Draft,
    advance: Any,
) -> list[Record]:  # fmt: skip
    """Rows of some items: asked, answered and graded, or dropped with the reason."""
    rows = []
    answers = answered(subject, part, config, name, draft, advance)
    for item, (answer, facts) in zip(part, answers, strict=True):
        row: Record = {"id": item.id, "tags": dict(item.tags), "chance": dict(item.chance), **asked(item), **facts}
        if answer is not None:
            graded = suite.grade(item, answer, means)
            row |= {"figures": dict(graded.figures), **graded.facts}
            row |= {"missing": graded.missing} if graded.missing else {}
        rows.append(row)
    return rows


def asked(item: Item) -> Record:
    """What an item put before the model, as its row keeps it."""
    if isinstance(item, Options):
        return {"context": item.context, "options": list(item.options), "right": list(item.right)}
    prompt = item.prompt if isinstance(item.prompt, str) else as_json(item.prompt)
    return {"prompt": prompt, **({"more": list(item.more)} if item.more else {})}


def figures(card: Card, groups: Sequence[Record]) -> dict[str, Record]:
    """Each figure over the rows that have it: value, interval, n, how, what guessing gives, and the target if any.

    Shares get Wilson's interval, means a bootstrap; a row that holds several values is one cluster."""
    found = {}
    extra = sorted({name for row in groups for name in row["figures"]} - set(card.figures))
    for name in (*card.figures, *extra):
        having = [row for row in groups if name in row["figures"]]
        if not having:
            continue
        one = figure([row["figures"][name] for row in having], f"{card.title} {name}")
        guessed = [row["chance"][name] for row in having if name in row["chance"]]
        found[name] = {
            "value": one.value, "ci": [one.low, one.high], "n": one.n, "how": one.how,
            "what": card.figures.get(name, ""), "chance": sum(guessed) / len(guessed) if guessed else None,
            "target": card.targets.get(name), "lower_is_better": name in card.lower_is_better, "share": name not in card.numbers,
        }  # fmt: skip
    return found


def figure(values: Sequence[float | list[float]], name: str) -> statistics.Figure:
    """A share if all values are 0 or 1, else a mean; lists are flattened and counted as clusters."""
    flat, clusters = flattened(values)
    if any(isinstance(one, list) for one in values):
        return statistics.mean(flat, clusters, name)
    return statistics.proportion(flat) if set(flat) <= {0.0, 1.0} else statistics.mean(flat, name=name)


def flattened(values: Sequence[float | list[float]]) -> tuple[list[float], list[int]]:
    """All numbers, and for each the place of the row that it came from."""
    pairs = [(x, place) for place, one in enumerate(values) for x in (one if isinstance(one, list) else [one])]
    return [x for x, _ in pairs], [place for _, place in pairs]


def slices(card: Card, groups: Sequence[Record]) -> Record:
    """The suite's first figure by each tag that its card names."""
    out: Record = {}
    for tag in card.slices:
        cells: dict[str, list[Any]] = {}
        for row in groups:
            if tag in row["tags"] and card.main in row["figures"]:
                cells.setdefault(row["tags"][tag], []).append(row["figures"][card.main])
        out[tag] = {}
        for value, cell in cells.items():
            one = figure(cell, f"{card.title} {tag} {value}")
            out[tag][value] = {"value": one.value, "ci": [one.low, one.high], "n": one.n, "how": one.how}
    return out


def digest_of(path: str) -> str:
    """SHA-256 of one of a suite's files. Raises `MissingError` that says which folder is missing and how to name it."""
    family, _, name = path.partition(":")
    return starter.digest(name) if family == "starter" else file_digest(shared.path(path))


def contents(path: str) -> Any:
    """What one file holds: records of a starter set, the text of a text file, rows of anything else."""
    import gzip

    if path.startswith("starter:"):
        return list(catalogue.source(path).rows)
    place = shared.path(path)
    if path.endswith(".txt.gz"):
        with gzip.open(place, "rt", encoding="utf-8") as file:
            return file.read()
    if path.endswith((".txt", ".txt.dev", ".tsv")):
        return place.read_text("utf-8")
    return [row for _, row in rows.read(place)]


def sandbox() -> Callable[[str], str] | None:
    """A function that runs a program apart from everything and says how it ended; None where no sandbox works. Its time
    limits are stretched where the machine is slower than the one on which they were chosen."""
    from solon.tools import sandbox as apart

    if apart.available():
        return None
    limits = cache(apart.calibrate)
    return lambda program: apart.run(program, limits()).status


def harmfulness() -> tuple[Callable[[Conversation], float] | None, str]:
    """A function that gives the chance of harm in a conversation's last turn, and the name of the classifier behind it;
    None where the classifier's weights cannot be had."""
    from solon.core.errors import MissingError, StorageError
    from solon.safety import classifier

    try:
        found = classifier.load()
    except (MissingError, StorageError):
        return None, "none"
    return lambda turns: found.score([turns])[0].harm, found.card


def answering(judge: Subject) -> Callable[[Conversation], str]:
    """A judge that answers in words: the greedy reply of a model."""

    def say(conversation: Conversation) -> str:
        prompt = encode_chat(judge.model.tokenizer, conversation, add_generation_prompt=True)
        left = judge.model.arch.context - len(prompt)
        return judge.engine.sample([Request(prompt, max_tokens=min(512, left), temperature=0.0)])[0].text if left > 0 else ""

    return say
