"""One model in memory with several adapters over it, named by a person: which of them a reply is drawn with is chosen each time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from solon.core.adapters import Choice
from solon.core.artifacts import Artifact, Store
from solon.core.dense import merge
from solon.core.errors import ConfigError, DataError
from solon.core.quantise import to_infer
from solon.core.weights import Tree
from solon.learn import lora
from solon.learn.shelf import Shelf, joined, shelf
from solon.models.architecture import spec
from solon.models.load import Model
from solon.stages import models

NAMED = re.compile(r"([\w.-]+)=(.+)")


def open_shelf(name: str, adapters: Sequence[str], store: Store, quantise: str = models.PLAIN) -> tuple[Model, Shelf]:
    """The model `name` with `adapters` beside one another: `SOURCE`, or `NAME=SOURCE` to call it otherwise. A source is an
    adapter's folder, the id of an artifact or `RUN:role`; a folder is called as it is in its parent, everything else as given.

    Adapters that the model itself carries are merged: they belong to what the others are laid on. Raises `ConfigError` where
    two are called alike or one was not trained on this model, `ModelError` for a kind that cannot stand beside others.
    """
    form = models.checked_form(quantise)
    sources = _named(adapters)
    model = models.resolve(name, store)
    params = merge(model.params)
    params = params if form == models.PLAIN else to_infer(spec(model.arch), params, form)
    model = replace(model, params=params)
    found = {called: _over(model, name, source, store, form) for called, source in sources.items()}
    made = shelf(params, found)
    return replace(model, params=made.params), made


def choice(text: str) -> Choice:
    """What a person typed: nothing or `none` for the plain model, `NAME`, or `NAME=0.7 OTHER=0.3`. Raises `DataError`."""
    words = text.split()
    if not words or words == ["none"]:
        return None
    if len(words) == 1 and "=" not in words[0]:
        return words[0]
    found: dict[str, float] = {}
    for word in words:
        called, given, weight = word.rpartition("=")
        try:
            found[called] = float(weight)
        except ValueError:
            given = ""
        if not given or not called or found[called] != found[called] or abs(found[called]) == float("inf"):
            raise DataError("a mixture of adapters needs a weight for each", got=word, expected="NAME=0.7 OTHER=0.3")
    return found


def _named(adapters: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in adapters:
        match = None if Path(one).exists() else NAMED.fullmatch(one)
        called, source = match.groups() if match else (Path(one).resolve().name if Path(one).is_dir() else one, one)
        if called in found:
            fix = "call one of them otherwise: NAME=SOURCE"
            raise ConfigError(f"two adapters are called {called!r}", got=f"{found[called]} and {source}", fix=fix)
        if called == "none":
            raise ConfigError("'none' stands for the model without any adapter", got=one, fix="call it otherwise: NAME=SOURCE")
        found[called] = source
    if not found:
        raise ConfigError("no adapter is named", expected="one or more adapters", fix="solon adapters list")
    return found


def _over(model: Model, name: str, source: str, store: Store, form: str) -> Tree:
    """The model with one adapter on it, which may be a chain that was trained link by link."""
    trees = []
    for link in _links(model, name, source, store):
        trained = models.adapter_settings(link).get("quantise", models.PLAIN)
        if trained not in (models.PLAIN, form):
            fix = f"give --quantise {trained}, or leave this adapter out"
            raise ConfigError(f"the adapter {source!r} was trained over a base in {trained}", got=f"a base in the form {form!r}", fix=fix)
        trees.append(lora.load_onto(model.arch, model.params, link))
    return joined(trees)


def _links(model: Model, name: str, source: str, store: Store) -> list[Path]:
    """Folders of the adapters that lead from the model to `source`, innermost first."""
    kind, found = models.place_of(source, store)
    if kind == "folder":
        if models.place_of(name, store)[0] == "published" and models.base_of(Path(found))["digest"] == model.digest:
            return [Path(found)]
        raise _foreign(source, models.base_of(Path(found))["base"], name)
    if kind == "published":
        raise ConfigError(f"{source!r} is a model and no adapter", expected="an adapter's folder, an artifact or RUN:role", fix="solon adapters list")
    chain = models.adapters(store.get(found))
    own, base = models.place_of(name, store)
    if own == "artifact":
        before = [one.id for one in models.adapters(store.get(base))]
        if [one.id for one in chain[: len(before)]] == before and len(chain) > len(before):
            return [one.path for one in chain[len(before) :]]
    elif own == "published" and _started_on(chain[0], model):
        return [one.path for one in chain]
    raise _foreign(source, models.published_name(chain[0]), name)


def _started_on(first: Artifact, model: Model) -> bool:
    return model.digest.startswith(first.evidence["inputs"]["model"].rpartition("@")[2])


def _foreign(source: str, base: str, name: str) -> ConfigError:
    fix = "name as MODEL what every adapter was trained on, and one that other adapters start from not among them"
    return ConfigError(f"the adapter {source!r} was not trained on {name!r}", got=f"one that goes back to {base}", expected=name, fix=fix)
