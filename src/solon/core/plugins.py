"""Plug-ins by file name: `load("objectives", "dpo")` is the module `solon/learn/objectives/dpo.py`."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType

from solon.core.errors import MissingError, nearest

HOMES = {
    "families": "solon.models.families",
    "objectives": "solon.learn.objectives",
    "judges": "solon.constitution.judges",
    "attacks": "solon.safety.redteam.families",
    "suites": "solon.evals.suites",
    "stages": "solon.stages",
}


def names(kind: str) -> list[str]:
    """Every plug-in of a kind: the files of its folder, and what other packages register as `solon.<kind>`."""
    package = importlib.import_module(HOMES[kind])
    own = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")]
    return sorted({*own, *(point.name for point in entry_points(group=f"solon.{kind}"))})


def load(kind: str, name: str) -> ModuleType:
    """The module of one plug-in. Raises `MissingError` with the nearest name."""
    known = names(kind)
    if name not in known:
        raise MissingError(f"no {kind[:-1]} is called {name!r}", fix=nearest(name, known))
    for point in entry_points(group=f"solon.{kind}"):
        if point.name == name:
            return point.load()
    return importlib.import_module(f"{HOMES[kind]}.{name}")
