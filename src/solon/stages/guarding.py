"""The guard of a model as it was measured with it: thresholds, probe and critique from the artifact of `solon guard measure`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from solon.core.artifacts import Artifact, Record, Store
from solon.core.errors import ConfigError
from solon.models.load import Model
from solon.safety import classifier
from solon.safety.guard import bands
from solon.safety.guard.bands import ASK_ALWAYS, Chosen
from solon.safety.guard.guard import LIMITS, Guard, open_guard
from solon.safety.guard.keeping import Keep
from solon.safety.head import Head
from solon.stages import models

BOOK = "core"
"""The constitution by which a guard's critique was measured, and so the one by which it is asked."""
PROBE = "probe.npz"
MEASURED = 3
"""The version of a measuring (`stages/guard.py`). An older one was made with scores that meant something else."""


def measured(store: Store, source: str, critique: bool = False) -> Artifact | None:
    """The measuring of a guard with this model (by what artifacts record of it) and the classifier that is here; None where there
    is none. With `critique` only one that chose thresholds for it."""
    found = []
    for path in sorted((store.root / "artifacts").glob("guard-*/evidence.json")):
        one = Artifact(path.parent.name, path.parent)
        if not stands(one) or one.evidence["inputs"].get("model") != source:
            continue
        if not critique or thresholds(one).band("input", "critique") != ASK_ALWAYS:
            found.append(one)
    return best(found)


def stands(one: Artifact) -> bool:
    """Whether a measuring is whole, of today's version, and of the classifier that is here."""
    return not one.unsound() and one.evidence["version"] == MEASURED and one.evidence["inputs"].get("classifier") == classifier.card()["id"]


def best(found: Iterable[Artifact]) -> Artifact | None:
    """Of several measurings one with a probe, and of those the one on the most requests (of equals the first by name)."""
    rank = lambda one: ((one.path / PROBE).is_file(), sum(row["n"] for row in total(one)))  # noqa: E731
    return max(sorted(found, key=lambda one: one.id), key=rank, default=None)


def total(one: Artifact) -> list[Record]:
    """Harm passed and false refusals of the whole guard over all sets of requests."""
    figures = one.read("figures.json")
    names = (figures["system"], f"{figures['system']} alone")  # a guard of one tier is called so
    return [row for row in figures["input"]["systems"] if not row["set"] and row["system"] in names]


def thresholds(one: Artifact | None) -> Chosen:
    """Those of a measuring, else the shipped ones."""
    return bands.load(one.path / "thresholds.json" if one else None)


def opened(
    store: Store, subject: str, model: Model, critique: bool = False, tools: Sequence[Mapping[str, Any]] = (), keep: Keep | None = None,
    limits: Mapping[str, float] = LIMITS,
) -> tuple[Guard, str]:  # fmt: skip
    """The guard of a model by any of its names, and in a sentence what it rests on. Without a measuring of this model, the
    shipped thresholds decide without a probe. Raises `ConfigError` for a critique that nobody chose thresholds for."""
    found = measured(store, models.source(subject, store), critique)
    command = f"solon guard measure {subject}" + (" --critique" if critique else "")
    if critique and found is None:
        raise ConfigError(f"no thresholds were chosen for the critique by {subject}, so it could decide nothing", fix=command)
    if found is None:
        guard = open_guard(tools=tools, keep=keep, limits=limits)
        return guard, f"no guard was measured with {subject}: the classifier decides by the shipped thresholds, without a probe ({command})"
    head = Head.from_file(found.path / PROBE) if (found.path / PROBE).is_file() else None
    guard = open_guard(
        model=model, probe=head, critique=_critique(model) if critique else None, thresholds=thresholds(found), tools=tools,
        keep=keep, limits=limits,
    )  # fmt: skip
    tiers = [name for name, there in (("probe", head), ("classifier", True), ("critique", critique)) if there]
    return guard, f"{', '.join(tiers)} with the thresholds of {found.id}"


def _critique(model: Model) -> Any:
    from solon.constitution import store as books
    from solon.stages._guard_critique import critique_by

    return critique_by(model, books.load(BOOK))
