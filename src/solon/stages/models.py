"""Models by name for everyone above layer 3: a catalogue name, folder or hub name, or `RUN:role` of a finished run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from solon.core.artifacts import Artifact, Store, file_digest
from solon.core.errors import ConfigError, MissingError, ModelError, nearest
from solon.core.precision import dtype_of
from solon.core.quantise import KINDS, to_infer
from solon.learn import lora
from solon.models.architecture import spec
from solon.models.load import Model, load

PLAIN = "none"
"""The form of a model whose matrices are as they were trained or published."""
BASE = "base.json"
"""The file of an adapter's folder that names the model on which it lies."""


def base(name: str, precision: str = "auto", work: str = "sampling") -> Model:
    """A model as it was published, in the type that is fastest for `training` or `sampling` here."""
    return load(name, dtype_of(precision, work))


def adapted(artifact: Artifact, precision: str = "auto", work: str = "sampling") -> Model:
    """The model that a training stage made: the published model with the chain of adapters that led to it."""
    chain = adapters(artifact)
    model = base(published_name(chain[0]), precision, work)
    params = model.params
    for link in chain:
        params = lora.load_onto(model.arch, params, link.path)
    return replace(model, name=artifact.id, params=params, tokenizer=tokenizer_for(model), adapters=tuple(_sum(link.path) for link in chain))


def published_name(artifact: Artifact) -> str:
    """The published model that an artifact was made from; a path may hold an `@` itself."""
    return artifact.evidence["inputs"]["model"].rpartition("@")[0]


def started_from(artifact: Artifact) -> Model:
    """The model that a training stage put its adapter on."""
    inner = adapters(artifact)[:-1]
    return adapted(inner[-1], work="training") if inner else ready(base(published_name(artifact), work="training"))


def start(choice: str, published: str, base: Model, helpful: Artifact) -> tuple[dict[str, str], Model]:
    """What SL-CAI starts from, as inputs of its artifact and as a model: `base` (the paper) or `helpful` (quicker)."""
    if choice == "base":
        return {"model": published}, base
    return {"start": helpful.id}, adapted(helpful, work="training")


def tokenizer_for(model: Model) -> Any:
    """The model's tokenizer; a base model without a chat template gets Solon's plain one."""
    from solon.text.template import DEFAULT_TEMPLATE

    tokenizer = model.tokenizer
    return tokenizer if tokenizer.template else tokenizer.with_template(DEFAULT_TEMPLATE)


def adapters(artifact: Artifact) -> list[Artifact]:
    """The artifacts whose adapters a model carries, innermost first."""
    chain = [artifact]
    while "start" in chain[0].evidence["inputs"]:
        store = Store(artifact.path.parent.parent)
        chain.insert(0, store.get(chain[0].evidence["inputs"]["start"]))
    return chain


def identity(name: str) -> str:
    """What an artifact records of a published model: its name and the hash of its weights."""
    from solon.models.formats import read
    from solon.models.hub import locate

    return f"{name}@{read(locate(name)).digest[:16]}"


def resolve(name: str, store: Store, precision: str = "auto", work: str = "sampling", quantise: str = PLAIN) -> Model:
    """A model by any of its names, `quantise`d to `int8` or `int4` where that is asked for (core/quantise.py `to_infer`).
    Raises `MissingError` with the roles that a run has, `ConfigError` for a form that there is not."""
    form = checked_form(quantise)
    kind, found = place_of(name, store)
    if kind == "artifact":
        model = adapted(store.get(found), precision, work)
    else:
        model = from_folder(Path(found), precision, work) if kind == "folder" else ready(base(found, precision, work))
    return model if form == PLAIN else replace(model, params=to_infer(spec(model.arch), model.params, form))


def checked_form(quantise: str) -> str:
    """The form in which a model is asked for. Raises `ConfigError` where there is no such form."""
    if quantise not in (PLAIN, *KINDS):
        raise ConfigError("unknown form of a model", got=quantise, expected=", ".join((PLAIN, *KINDS)))
    return quantise


def place_of(name: str, store: Store) -> tuple[Literal["artifact", "folder", "published"], str]:
    """What a name stands for: the id of an artifact, the folder of an adapter, or a published model's own name."""
    run_name, colon, role = name.rpartition(":")
    if colon and "/" not in name and run_name:
        from solon.stages.runs import find

        run = find(store, run_name)
        if role == "base":
            return "published", run.recipe["model"]
        if role not in run.models:
            raise MissingError(f"the run {run.id} has no model {role!r}", fix=nearest(role, ["base", *run.models]))
        return "artifact", run.models[role]
    if is_adapter_folder(name):
        return "folder", name
    made = (store.root / "artifacts" / name / "adapter.safetensors").exists()
    return ("artifact" if made else "published"), name


def is_adapter_folder(name: str | Path) -> bool:
    """A folder with an adapter that names its base model, as `solon adapters import` and `combine` write it."""
    return (Path(name) / "adapter.safetensors").is_file() and (Path(name) / BASE).is_file()


def base_of(folder: Path) -> dict[str, str]:
    """`{"base": name, "digest": of its weights}` of an adapter's folder."""
    try:
        value = json.loads((folder / BASE).read_text("utf-8"))
        return {"base": str(value["base"]), "digest": str(value["digest"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{BASE} of {folder} cannot be read", got=repr(error), fix="import the adapter again") from error


def from_folder(folder: Path, precision: str = "auto", work: str = "sampling") -> Model:
    """A published model with the adapter of a folder on it. Raises `ModelError` if it is no longer the model it was."""
    said = base_of(folder)
    model = base(said["base"], precision, work)
    if model.digest != said["digest"]:
        fix = f"get back the weights that the adapter of {folder.name} was made for, or import it again"
        raise ModelError(f"the adapter belongs to other weights than those of {said['base']!r}", got=model.digest, expected=said["digest"], fix=fix)
    params = lora.load_onto(model.arch, model.params, folder)
    return replace(model, name=str(folder), params=params, tokenizer=tokenizer_for(model), adapters=(_sum(folder),))


def source(name: str, store: Store) -> str:
    """What an artifact records of a model under any of its names, without loading the model: the id of the artifact that
    made it, or a published name with the hash of its weights."""
    kind, found = place_of(name, store)
    if kind == "folder":
        return f"{found}@{_sum(Path(found))[:16]}"
    return found if kind == "artifact" else identity(found)


def _sum(folder: Path) -> str:
    return file_digest(folder / "adapter.safetensors")


def published(name: str, store: Store) -> str:
    """The published model that a model of any name goes back to."""
    if is_adapter_folder(name):
        return base_of(Path(name))["base"]
    made = source(name, store)
    if (store.root / "artifacts" / made / "evidence.json").exists():
        return published_name(adapters(store.get(made))[0])
    return made.rpartition("@")[0]


def ready(model: Model) -> Model:
    """The model with a tokenizer that can render chats."""
    return replace(model, tokenizer=tokenizer_for(model))


def adapter_settings(folder: Path) -> dict[str, Any]:
    """What the file of a stored adapter says of it: rank, alpha, targets, and where they are not the usual ones kind, ranks
    and the form of the base (`quantise`)."""
    from safetensors import safe_open

    with safe_open(folder / "adapter.safetensors", framework="numpy") as f:
        return json.loads(f.metadata()["lora"])
