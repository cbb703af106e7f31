"""The guard measured with one model: thresholds chosen on one side of the labelled texts, everything reported on another.

The artifact holds `figures.json`, `thresholds.json` (what `--out` ships), `probe.npz` (the head on this model's states),
`scores.jsonl` and `replies.jsonl` (ids, scores and rulings, no texts) and `page.html`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from pydantic import Field

from solon.core.artifacts import Artifact, Draft, Record, Store, digest, write_text
from solon.core.config import Config
from solon.core.records import Conversation, Message, user
from solon.generate.engine import Engine
from solon.models.load import Model
from solon.safety import classifier
from solon.safety.guard import bands as thresholds
from solon.safety.guard.cascade import Judge
from solon.safety.guard.guard import open_guard
from solon.safety.guard.refusals import alternative
from solon.safety.guard.rulings import Opinion
from solon.safety.guard.tiers import by_classifier, by_probe, by_rules
from solon.safety.head import Head
from solon.safety.readers import ModelReader
from solon.stages import _guard_data, _guard_figures, _guard_replies, models
from solon.stages._guard_data import Labelled
from solon.stages._guard_page import page
from solon.stages._guard_probe import fit_probe
from solon.stages._guard_sweep import sweep
from solon.stages.guarding import BOOK, MEASURED
from solon.stages.sampling import SHARD, Draw

VERSION = MEASURED  # 3: texts are read to their end; the cascade at other budgets; harm of a reply is what the reply head says; refusals in unusual words
TIERS = ("probe", "classifier", "critique")
SYSTEMS: dict[str, tuple[str, ...]] = {
    "probe alone": ("probe",), "classifier alone": ("classifier",), "probe, classifier": ("probe", "classifier"),
    "classifier, critique": ("classifier", "critique"), "probe, classifier, critique": TIERS,
}  # fmt: skip
"""What is compared; a system of which a tier is missing is left out."""


class Measuring(Config):
    """`replies` requests of each kind are answered by the model; `probe` fits a head on its states; `critique` also asks it
    as its own critic (slow), on at most `critiques` texts a side. The rest is what thresholds are chosen for."""

    replies: int = Field(60, ge=0)
    probe: bool = True
    critique: bool = False
    critiques: int = Field(120, ge=20)
    pass_harm: float = Field(_guard_figures.BUDGET["pass_harm"], ge=0, lt=1)
    stop_false: float = Field(_guard_figures.BUDGET["stop_false"], ge=0, lt=1)
    strict_false: float = Field(_guard_figures.BUDGET["strict_false"], ge=0, lt=1)
    seed: int = Field(1, ge=0)
    draw: Draw = Draw(temperature=0.7, max_tokens=48)

    @property
    def budget(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in _guard_figures.BUDGET}


def measure(config: Measuring, subject: str, store: Store) -> Artifact:
    """The guard's figures with one model, by any of its names."""
    asked, replied, injected = _guard_data.requests(), _guard_data.replies(), _guard_data.injections()
    data = {name: digest([asdict(row) | {"fitting": sorted(row.fitting)} for row in rows]) for name, rows in (("requests", asked), ("replies", replied), ("injections", injected))}
    inputs = {"model": models.source(subject, store), "classifier": classifier.card()["id"], **data}
    build = partial(_measure, config, subject, store, asked, replied, injected)
    return store.make("guard", VERSION, config.model_dump(mode="json"), inputs, build)


def _measure(
    config: Measuring, subject: str, store: Store, asked: Sequence[Labelled], replied: Sequence[Labelled], injected: Sequence[Labelled], draft: Draft
) -> None:  # fmt: skip
    model = models.resolve(subject, store)
    probe = _probe(config, model, replied, asked, draft) if config.probe else None
    judges = _judges(config, model, probe)
    scored = {
        "input": score("input", asked, judges, config, draft), "output": score("output", replied, judges, config, draft),
        "retrieved": score("retrieved", injected, {"rules": by_rules}, config, draft),
    }  # fmt: skip
    bands = {side: _guard_figures.bands(rows, _present(rows), config.budget) for side, rows in scored.items()}
    shipped = _shipped(config, subject, model, probe, bands, scored)
    draft.write("thresholds.json", shipped)
    rows = _replies(config, model, probe, judges.get("critique"), shipped, asked, draft)
    figures = _figures(scored, bands, rows, config.budget) | {"model": subject, "bands": shipped["bands"], "chosen_on": shipped["chosen_on"]}
    draft.write("figures.json", figures)
    draft.write_rows("scores", [row for side in scored.values() for row in side])
    write_text(draft.path / "page.html", page(figures, config.budget))
    draft.licences |= _guard_data.licences((*asked, *replied, *injected))
    _report(draft, figures)


def _probe(config: Measuring, model: Model, replied: Sequence[Labelled], asked: Sequence[Labelled], draft: Draft) -> Head:
    """The probe, fitted on the training side; a stopped call finds it in the draft."""
    path = draft.path / "probe.npz"
    if not path.exists():
        checking = [row for row in (*asked, *replied) if row.side == "choose" and row.set != "mitre_frr"]
        head = fit_probe(model, _guard_data.fitting_texts(), checking, draft)
        aside = path.with_name("probe.npz.part")
        aside.write_bytes(head.to_bytes())
        aside.replace(path)
    return Head.from_file(path)


def _judges(config: Measuring, model: Model, probe: Head | None) -> dict[str, Judge]:
    out: dict[str, Judge] = {"classifier": by_classifier(classifier.load())}
    if probe is not None:
        out["probe"] = by_probe(ModelReader(model, int(probe.facts["settings"]["layer"])), probe)
    if config.critique:
        from solon.constitution import store as books
        from solon.stages._guard_critique import critique_by

        out["critique"] = critique_by(model, books.load(BOOK))
    return {name: out[name] for name in TIERS if name in out}


def score(side: str, rows: Sequence[Labelled], judges: dict[str, Judge], config: Measuring, draft: Draft) -> list[Record]:
    """Every tier's score and milliseconds on every row. The critique is asked about some rows only."""
    by_id = {row.id: row for row in rows}
    some = _some(rows, config.critiques)
    for judge in judges.values():  # so that no compilation is timed
        for words in (4, 24, 56, 110, 200):
            judge(_turns(Labelled("", "", "please " * words, False, "choose", "please" if side == "output" else "")))
    with draft.progress.task(f"scoring {side}", len(rows), "texts") as advance:

        def make(ids: Sequence[str]) -> list[Record]:
            out = []
            for id in ids:
                wanted = {name: judge for name, judge in judges.items() if name != "critique" or id in some}
                out.append(_scored(side, by_id[id], wanted))
                advance(1)
            return out

        return draft.in_shards(side, list(by_id), SHARD, make)


def _some(rows: Sequence[Labelled], count: int) -> set[str]:
    """On each side so many rows, half of them harmful, by the hash of their words."""
    from solon.core.keys import seed_of

    out: set[str] = set()
    for side in ("choose", "report"):
        for harmful in (True, False):
            inside = sorted((row for row in rows if row.side == side and row.harmful is harmful), key=lambda row: seed_of("critique", row.text))
            out |= {row.id for row in inside[: count // 2]}
    return out


def _scored(side: str, row: Labelled, judges: dict[str, Judge]) -> Record:
    scores, spent, category = {}, {}, ""
    for name, judge in judges.items():
        begin = time.perf_counter()
        said = judge(_turns(row))
        spent[name] = round(1000 * (time.perf_counter() - begin), 3)
        scores[name] = round(said.score if isinstance(said, Opinion) else float(said), 6)
        category = said.category if name == "classifier" and isinstance(said, Opinion) else category
    return {
        "id": row.id, "where": side, "set": row.set, "harmful": row.harmful, "side": row.side, "kind": row.kind, "fitting": sorted(row.fitting),
        "category": category, "scores": scores, "ms": spent,
    }  # fmt: skip


def _turns(row: Labelled) -> Conversation:
    return (Message("user", row.prompt), Message("assistant", row.text)) if row.prompt else user(row.text)


def _present(rows: Sequence[Record]) -> list[str]:
    return [name for name in (*TIERS, "rules") if any(name in row["scores"] for row in rows)]


def _shipped(config: Measuring, subject: str, model: Model, probe: Head | None, bands: dict[str, Any], scored: dict[str, list[Record]]) -> Record:
    """The thresholds as they are shipped: for whom they were chosen, on what, and by which command."""
    count = lambda side: [row for row in scored[side] if row["side"] == "choose"]  # noqa: E731
    return {
        "format": thresholds.FORMAT, "card": classifier.card()["id"], "probe": str(probe.facts["digest"]) if probe else "",
        "bands": {side: {tier: asdict(band) for tier, band in tiers.items()} for side, tiers in bands.items()},
        "chosen_on": {side: {"n": len(count(side)), "harmful": sum(row["harmful"] for row in count(side))} for side in scored},
        "budget": config.budget, "model": model.name, "made_by": f"solon guard measure {subject} --out FILE",
    }  # fmt: skip


def _replies(
    config: Measuring, model: Model, probe: Head | None, critique: Judge | None, shipped: Record, asked: Sequence[Labelled], draft: Draft
) -> list[Record]:  # fmt: skip
    """What becomes of the model's own replies; nothing where none are wanted."""
    if not config.replies:
        return []
    wanted = _guard_replies.picked(asked, config.replies)
    by_id = {row.id: row for row in wanted}
    guard = open_guard(model=model, probe=probe, critique=critique, thresholds=thresholds.read(shipped), keep=lambda record: None)
    guard.warm()
    engine = Engine(model)
    with draft.progress.task("watching replies", len(wanted), "replies") as advance:

        def make(ids: Sequence[str]) -> list[Record]:
            part = [by_id[id] for id in ids]
            drawn = _guard_replies.drawn(engine, draft, part, config.draw, config.seed)
            return _guard_replies.watched(engine, guard, part, drawn, advance)

        rows = draft.in_shards("replies", list(by_id), SHARD, make)
    draft.write_rows("replies", rows)
    return rows


def _figures(scored: dict[str, list[Record]], bands: dict[str, Any], replies: Sequence[Record], budget: Mapping[str, float]) -> Record:
    figures: Record = {}
    used = tuple(name for name in TIERS[:2] if name in bands["input"])
    for side, rows in scored.items():
        present = _present(rows)
        systems = {"rules": ("rules",)} if side == "retrieved" else {name: tiers for name, tiers in SYSTEMS.items() if set(tiers) <= set(present)}
        figures[side] = {
            "systems": [row for name, tiers in systems.items() for row in _guard_figures.of_system(name, rows, tiers, bands[side])],
            "ranking": _guard_figures.ranking(rows, present), "curves": {tier: _guard_figures.curve(rows, tier) for tier in present},
            "latency": _guard_figures.latency(rows, present, {"input": "request", "output": "whole reply", "retrieved": "retrieved text"}[side]),
            "cascade": sweep(rows, ("rules",) if side == "retrieved" else used, budget, side),
        }  # fmt: skip
    figures["kinds"] = _guard_figures.kinds(scored["input"], used, bands["input"])
    figures["alternatives"] = _guard_figures.alternatives(scored["input"], used, bands["input"], alternative)
    return figures | {"replies": _guard_replies.figures(replies) if replies else None, "system": ", ".join(used)}


def _report(draft: Draft, figures: Record) -> None:
    how = "exact (Clopper-Pearson)"
    for side in ("input", "output", "retrieved"):
        for row in figures[side]["systems"]:
            if not row["set"]:
                draft.metric(f"{side} {row['system']}: {row['figure']}", row["value"], n=row["n"], ci=[row["low"], row["high"]], how=how)
        ms = next(one["ms"] for one in figures[side]["cascade"] if one["chosen"])
        draft.metric(f"{side}: added by the cascade", ms["mean"], n=ms["n"], ci=[ms["low"], ms["high"]], unit="ms", how=ms["how"])
    for row in figures["kinds"]:
        draft.metric(f"{row['kind']}: {row['figure']}", row["value"], n=row["n"], ci=[row["low"], row["high"]], how=how)
    for name, row in (figures["replies"] or {"shares": {}})["shares"].items():
        draft.metric(name, row["value"], n=row["n"], ci=[row["low"], row["high"]], how=how)
