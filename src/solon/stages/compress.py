"""What each way of making a model smaller costs and saves, measured on the model itself.

One artifact for each form (`stages/_compress_forms.py`) holds its rows, its speed and, where it was mended, its adapter; one
more holds the table. A stopped report goes on with the form at which it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from pydantic import Field

from solon.core.artifacts import Artifact, Draft, Record, Store
from solon.core.config import Config
from solon.core.errors import MissingError, nearest
from solon.core.precision import dtype_of
from solon.core.quantise import size
from solon.core.records import as_json
from solon.curate import catalogue
from solon.learn import lora
from solon.models.load import Model
from solon.stages import models, sft
from solon.stages._compress_figures import figures
from solon.stages._compress_forms import (
    FORMS,
    ORIGINAL,
    Form,
    as_type,
    broken_zeros,
    file_bytes,
    has_mask,
    parameters,
    running,
    settled,
    zeros,
)
from solon.stages._compress_measures import TOGETHER, Original, cut, endless, raced
from solon.stages.distill import taught
from solon.stages.evaluate import multiple_choice
from solon.stages.fit import Fit, fit
from solon.stages.gather import Gathered, gather
from solon.stages.recipe import Data, Recipe

VERSION = 1
TABLE = 2
"""The version of the table over the forms: its sentences say what is left after Holm."""
WIKITEXT = "shared:wikitext2"


class Compress(Config):
    """How many held-out items of each kind are read, for how many steps a model is mended, and how its speed is taken: in
    `rounds` rounds of `tokens` tokens a reply. Of each wikitext article the first `characters` are read."""

    passages: int = Field(48, ge=2)
    wikitext: int = Field(32, ge=2)
    characters: int = Field(1200, ge=100)
    multiple_choice: int = Field(240, ge=2)
    helpful: int = Field(58, ge=2)
    rounds: int = Field(3, ge=1)
    tokens: int = Field(24, ge=1)
    data: Data = Data()
    mend: Fit = Fit(rank=16, alpha=32.0, learning_rate=5e-4, batch=8, micro=8, steps=24, warmup=0.1)
    seed: int = 1


@dataclass(frozen=True)
class Subject:
    """A model by name and the data that its forms are measured on; it is loaded when a form has to be made."""

    name: str
    store: Store
    config: Compress

    @cached_property
    def data(self) -> Gathered:
        return gather(Recipe(name="compress", model=self.name, data=self.config.data, seed=self.config.seed))

    @cached_property
    def passages(self) -> dict[str, Sequence[Any]]:
        """Held-out prose: Solon's own, and Wikipedia's where `SOLON_DATA` names a folder with it."""
        found: dict[str, Sequence[Any]] = {"passage": self.data.held.passages[: self.config.passages]}
        if os.environ.get("SOLON_DATA"):
            articles = catalogue.passages(WIKITEXT, "heldout")[: self.config.wikitext]
            found["wikitext"] = [cut(one, self.config.characters) for one in articles]
        return found

    @cached_property
    def digests(self) -> dict[str, str]:
        names = self.config.data
        used = {name: self.data.digest_of(getattr(names, name)) for name in ("passages", "multiple_choice", "demonstrations")}
        wiki = {"wikitext": catalogue.source(WIKITEXT, "heldout").digest} if "wikitext" in self.passages else {}
        return used | wiki

    @cached_property
    def source(self) -> str:
        return models.source(self.name, self.store)

    @cached_property
    def original(self) -> Original:
        """The model in float32, its adapters merged."""
        model = models.resolve(self.name, self.store, "float32")
        return Original(replace(model, params=settled(model.params)), self.passages)


def chosen(names: str) -> list[str]:
    """`int8,int4` as names of forms, in the table's order, the original first; all where nothing is named."""
    given = [one.strip() for one in names.split(",") if one.strip()]
    for one in given:
        if one not in FORMS:
            raise MissingError(f"no form is called {one!r}", fix=nearest(one, FORMS))
    return [name for name in FORMS if not given or name in given or name == ORIGINAL]


def report(store: Store, config: Compress, name: str, forms: Sequence[str]) -> Artifact:
    """The table of the given forms of a model: `table.json`, a row for each."""
    subject = Subject(name, store, config)
    settings = {**config.model_dump(mode="json"), "data": subject.digests}
    made: dict[str, Artifact] = {}
    for one in forms:
        own = settings if FORMS[one].mend else {key: value for key, value in settings.items() if key != "mend"}
        build = partial(_build, subject, FORMS[one])
        made[one] = store.make("compress", VERSION, {"form": one, **own}, {"model": subject.source}, build)
    inputs = {"model": subject.source} | {one: artifact.id for one, artifact in made.items()}
    return store.make("compression", TABLE, {"forms": list(forms)}, inputs, partial(_table, made))


def _build(subject: Subject, form: Form, draft: Draft) -> None:
    original, config = subject.original, subject.config
    model = form.make(original.model)
    before = model
    if form.mend:
        with draft.progress.stage("mend"):
            model = _mended(subject, model, form.mend, draft)
        draft.facts["broken_zeros"] = broken_zeros(before.params, model.params)
    else:
        model = running(model)
    stored = before if has_mask(before.params) else model  # mending keeps the mask, and a product gets wider by it
    draft.facts |= {"what": form.what, "file_bytes": file_bytes(stored.params)}
    draft.facts |= {"bytes": size(model.params), "parameters": parameters(model), "zeros": zeros(model)}
    draft.write_rows("likelihoods", _read(subject, model, draft))
    prompts = [model.tokenizer.encode(one.text, special=False) for _, one in original.texts]
    with draft.progress.task("speed", len(TOGETHER) * (config.rounds + 1), "round") as advance:
        engine = original.engine if model is original.model else endless(model)
        draft.write("speed.json", raced(original.engine, engine, prompts, config.tokens, config.rounds, advance))


def _read(subject: Subject, model: Model, draft: Draft) -> list[Record]:
    """The form's rows on everything that is held out."""
    config, held, original = subject.config, subject.data.held, subject.original
    questions, helpful = held.multiple_choice[: config.multiple_choice], held.helpful[: config.helpful]
    with draft.progress.task("reading", len(original.texts) + len(questions) + len(helpful), "text") as advance:
        rows = original.read(model, advance)
        for start in range(0, len(questions), 40):
            part = questions[start : start + 40]
            rows += multiple_choice(model, part)
            advance(len(part))
        losses = sft.reference_loss(model, [one.messages for one in helpful])
        rows += [{"kind": "reference", "id": one.id, "loss": loss} for one, loss in zip(helpful, losses, strict=True)]
        advance(len(helpful))
    return rows


def _mended(subject: Subject, model: Model, how: str, draft: Draft) -> Model:
    """The form after its fine-tuning, as plain float32 arrays; the adapter stays in the artifact."""
    config = subject.config
    low = dtype_of("auto", "training")
    student = replace(model, params=as_type(model, model.params, low))
    needed = config.mend.steps * config.mend.batch
    lessons = [{"id": one.id, "messages": as_json(one.messages)} for one in subject.data.demonstrations[:needed]]
    marked = [sft.mark(row, config.mend.length, model) for row in lessons]
    draft.count(marked)
    course = sft.course(config.mend, student, marked, config.seed)
    if how == "distill":
        teacher = subject.original.model
        course = taught(course, replace(teacher, params=as_type(teacher, teacher.params, low)))
    result = fit(draft, course)
    draft.facts["mended"] = {"how": how, "steps": len(result.history), "first": result.history[0]["loss"], "last": result.history[-1]["loss"]}
    return replace(model, params=settled(lora.load_onto(model.arch, model.params, draft.path)))


def _table(made: dict[str, Artifact], draft: Draft) -> None:
    rows = figures({name: (one.evidence["facts"], one.read("speed.json"), list(one.rows("likelihoods"))) for name, one in made.items()})
    for row in rows:
        row["artifact"] = made[row["form"]].id
        for name, figure in row["figures"].items():
            draft.metric(f"{row['form']} {name}", **figure)
    draft.write("table.json", rows)
