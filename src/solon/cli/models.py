"""`solon models` and `solon show`: which models there are, fetching them, and what one is made of."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, emit, epilog, facts, group, size, store, table
from solon.core.errors import ConfigError

Name = Annotated[
    str | None, typer.Argument(help="Catalogue name, folder, .gguf file, hub name org/name, or RUN:role.", metavar="MODEL")
]
Abstract = Annotated[
    str | None, typer.Option("--abstract", metavar="NAME", help="A published configuration: shapes without any weights.")
]


def attach(app: typer.Typer) -> None:
    """Hang this part's commands into the tree."""
    models = group("The models that Solon knows, fetching them, and what they are made of.")
    models.command("list", epilog=epilog("solon models list", "solon models list --json"))(listing)
    models.command(
        "pull",
        epilog=epilog("solon models pull smollm2-135m-instruct", "solon models pull gemma3-270m --accept-licence gemma"),
    )(pull)
    examples = epilog("solon show smollm2-135m-instruct", "solon show latest:aligned", "solon show --abstract gemma-7b")
    models.command("show", epilog=examples)(show)
    app.add_typer(models, name="models")
    app.command("show", epilog=examples)(show)


def listing(json: Json = False) -> None:
    """The models of the catalogue, and which of them are already here."""
    from solon.models import hub

    rows = hub.listing()

    def human() -> None:
        columns = ("model", "parameters", "download", "licence", "chat", "here")
        table(
            columns,
            (
                (
                    row["name"], size(row["parameters"]), size(row["bytes"], "B"), row["licence"],
                    "yes" if row["chat"] else "base model", "yes" if row["cached"] else "",
                )
                for row in rows
            ),
            right=("parameters", "download"),
        )  # fmt: skip
        typer.echo("A folder, a .gguf file, a hub name org/name and RUN:role of a finished run work wherever a model is named.")

    emit(rows, json, human)


def pull(
    name: Annotated[str, typer.Argument(help="Catalogue name or hub name org/name.", metavar="MODEL")],
    accept_licence: Annotated[
        str | None, typer.Option("--accept-licence", metavar="NAME", help="Accept the terms of this licence, such as gemma.")
    ] = None,
    json: Json = False,
) -> None:
    """Fetch a model into the cache and print where it lies. Call it again after a failure: finished pieces are kept."""
    from solon.models import hub

    path = hub.locate(name, accept_licence=accept_licence, progress=not json)
    emit({"model": name, "path": path, "bytes": _bytes(path)}, json, lambda: typer.echo(str(path)))


def _bytes(path: Any) -> int:
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


def show(model: Name = None, abstract: Abstract = None, runs: Runs = None, json: Json = False) -> None:
    """The parameters and shapes of a model: of its own weights, or (--abstract) of a published configuration."""
    if (model is None) == (abstract is None):
        raise ConfigError("name one model", fix="solon show MODEL, or solon show --abstract gemma-7b")
    value = published(abstract) if abstract else described(str(model), runs)
    emit(value, json, lambda: _human(value))


def published(name: str) -> dict[str, Any]:
    """A published configuration; nothing is allocated."""
    from solon.models.shapes import describe
    from solon.models.shapes import published as architecture

    arch, rows = architecture(name), [row._asdict() for row in describe(name)]
    return {"model": name, "parameters": sum(row["parameters"] for row in rows), **_switches(arch), "weights": rows}


def described(name: str, runs: Any) -> dict[str, Any]:
    """A model that is here, from its file; of a finished run or an adapter's folder, from the model that it makes."""
    from math import prod

    from solon.core.weights import is_weight, named
    from solon.models.architecture import spec
    from solon.stages.models import is_adapter_folder

    place = store(runs, quiet=True)
    made = ":" in name or (place.root / "artifacts" / name / "evidence.json").exists()
    arch, facts_ = _made(name, place) if made or is_adapter_folder(name) else _of_file(name)
    weights = named(spec(arch), is_leaf=is_weight)
    rows = [
        {"path": path, "rule": w.rule, "shape": w.shape(arch.sizes), "parameters": prod(w.shape(arch.sizes))}
        for path, w in weights.items()
    ]
    return {"model": name, "parameters": sum(row["parameters"] for row in rows), **facts_, **_switches(arch), "weights": rows}


def _of_file(name: str) -> tuple[Any, dict[str, Any]]:
    """Read the header alone: a model of any size is shown at once."""
    from solon.models.formats import read
    from solon.models.hub import locate
    from solon.models.load import family

    checkpoint = read(locate(name))
    arch = family(checkpoint.config["model_type"]).architecture(checkpoint.config)
    words = checkpoint.tokenizer
    return arch, {
        "licence": checkpoint.licence or "not stated", "files": [str(path) for path in checkpoint.files],
        "tokenizer": f"{words.vocab_size:,} tokens", "chat_template": words.template is not None,
    }  # fmt: skip


def _made(name: str, place: Any) -> tuple[Any, dict[str, Any]]:
    """Of a finished run, or an adapter's folder with the model under it."""
    from solon.stages.models import resolve

    model = resolve(name, place)
    return model.arch, {"licence": model.licence, "digest": model.digest, "chat_template": model.tokenizer.template is not None}


def _switches(arch: Any) -> dict[str, Any]:
    """The fields of an architecture that are not at their default."""
    return {
        field.name: getattr(arch, field.name)
        for field in fields(arch)
        if getattr(arch, field.name) != field.default and field.name != "local_layers"
    }


def _human(value: dict[str, Any]) -> None:
    head = {name: one for name, one in value.items() if name != "weights"}
    head["parameters"] = f"{value['parameters']:,}"
    head |= {name: "\n".join(one) for name, one in head.items() if isinstance(one, list)}
    facts({name.replace("_", " "): one for name, one in head.items()})
    table(
        ("weight", "rule", "shape", "parameters"),
        (
            (row["path"], row["rule"], " x ".join(map(str, row["shape"])), f"{row['parameters']:,}")
            for row in value["weights"]
        ),
        right=("parameters",),
    )
