"""`solon constitution`: the written principles, checking and comparing books, routing requests, and testing on fixtures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, clean, console, emit, epilog, facts, group, store, table

BookName = Annotated[str, typer.Argument(help="A book's name or the path of a YAML file.", metavar="BOOK")]


def attach(app: typer.Typer) -> None:
    """Hang this part's commands into the tree."""
    books = group("Constitutions: the written principles that a model is raised by.")
    books.command("list", epilog=epilog("solon constitution list"))(listing)
    books.command(
        "show", epilog=epilog("solon constitution show core", "solon constitution show core harmlessness.violence")
    )(show)
    books.command("check", epilog=epilog("solon constitution check core", "solon constitution check mine.yaml --strict"))(check)
    books.command("diff", epilog=epilog("solon constitution diff core mine.yaml"))(diff)
    books.command("route", epilog=epilog('solon constitution route "Can my landlord keep the deposit?"', "solon constitution route - --json"))(
        route
    )
    books.command("test", epilog=epilog(
        "solon constitution test", "solon constitution test mine.yaml --fixtures my-fixtures.yaml",
        "solon constitution test --judge probe --model smollm2-135m-instruct",
    ))(measure)  # fmt: skip
    app.add_typer(books, name="constitution")


def listing(json: Json = False) -> None:
    """The constitutions that come with Solon."""
    from solon.constitution import store

    books = [store.load(name) for name in store.names()]
    value = [
        {"name": b.name, "version": b.version, "principles": len(b.principles), "hash": b.hash, "description": b.description}
        for b in books
    ]
    columns = ("name", "version", "principles", "hash", "description")
    emit(value, json, lambda: table(columns, ([row[c] for c in columns] for row in value), right=("principles",)))


def show(
    book: BookName,
    principle: Annotated[str | None, typer.Argument(help="One principle's id.", metavar="[PRINCIPLE]")] = None,
    json: Json = False,
) -> None:
    """A whole book, or one of its principles with all that is asked of a model by it."""
    from solon.constitution import store

    whole = store.load(book)
    if principle is None:
        emit({**whole.model_dump(mode="json"), "hash": whole.hash}, json, lambda: _book(whole))
    else:
        one = whole.principle(principle)
        emit(one, json, lambda: _principle(one))


def _book(book: Any) -> None:
    facts({"book": f"{book.name} {book.version}", "hash": book.hash, "licence": book.licence, "about": book.description.strip()})
    table(
        ("principle", "weight", "severity", "applies to", "text"),
        ((p.id, f"{p.weight:g}", p.severity, ", ".join(p.applies_to), p.text.strip()) for p in book.principles),
        right=("weight", "severity"),
    )


def _principle(one: Any) -> None:
    facts(
        {
            "id": one.id, "weight": f"{one.weight:g}", "severity": one.severity, "applies to": ", ".join(one.applies_to),
            "source": one.source, "text": one.text.strip(), "critique request": one.critique_request.strip(),
            "revision request": one.revision_request.strip(), "comparison request": one.comparison_request.strip(),
        }
    )  # fmt: skip
    for example in one.examples:
        typer.echo()
        facts({"prompt": example.prompt.strip(), "good": example.good.strip(), "bad": example.bad.strip()})


def check(
    book: BookName,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when there is a warning.")] = False,
    json: Json = False,
) -> None:
    """Read a book and say what its author should look at again. Errors in the file stop with exit code 2."""
    from solon.constitution import store

    whole = store.load(book)
    warnings = store.check(whole)

    def human() -> None:
        for warning in warnings:
            typer.echo(f"warning: {clean(warning)}")
        typer.echo(f"{whole.name} {whole.version} ({whole.hash}): {len(whole.principles)} principles, {len(warnings)} warnings")

    emit({"book": whole.name, "hash": whole.hash, "principles": len(whole.principles), "warnings": warnings}, json, human)
    if strict and warnings:
        raise typer.Exit(1)


def diff(
    before: Annotated[str, typer.Argument(help="A book's name or file.", metavar="BEFORE")],
    after: Annotated[str, typer.Argument(help="A book's name or file.", metavar="AFTER")],
    json: Json = False,
) -> None:
    """What changed from one book to another, principle by principle."""
    from solon.constitution import store

    changes = store.diff(store.load(before), store.load(after))
    emit(changes, json, lambda: _changes(changes))


def _changes(changes: list[Any]) -> None:
    from rich.text import Text

    out = console()
    if not changes:
        out.print("no difference")
    for one in changes:
        mark, style = {"added": ("+", "green"), "removed": ("-", "red")}.get(one.kind, ("~", "yellow"))
        name = " ".join(word for word in (one.principle or "book", one.field) if word)
        out.print(Text(f"{mark} {name}", style=style))
        for sign, value, colour in (("-", one.before, "red"), ("+", one.after, "green")):
            if value is not None:
                out.print(Text(f"    {sign} {clean(str(value)).strip()}", style=colour))


def route(
    requests: Annotated[list[str], typer.Argument(help="Requests, or - for one a line on standard input.", metavar="REQUEST...")],
    book: Annotated[str, typer.Option("--book", help="A book's name or file.", metavar="BOOK")] = "core",
    json: Json = False,
) -> None:
    """Which domains a request belongs to, and the principles that apply for that reason alone."""
    from solon.constitution import router, store

    whole = store.load(book)
    everywhere = {one.id for one in store.applicable(whole, [])}
    value: list[dict[str, Any]] = []
    for request in [line.rstrip("\n") for line in sys.stdin] if requests == ["-"] else requests:
        domains = router.route(request)
        added = [one.id for one in store.applicable(whole, domains) if one.id not in everywhere]
        value.append({"request": request, "domains": domains, "principles": added})
    rows = ((clean(one["request"][:70]), ", ".join(one["domains"]) or "none", ", ".join(one["principles"])) for one in value)
    emit(value, json, lambda: table(("request", "domains", "principles"), rows))


def measure(
    book: BookName = "core",
    fixtures: Annotated[Path | None, typer.Option("--fixtures", help="Your own fixtures, a YAML file.", metavar="FILE")] = None,
    judge: Annotated[str, typer.Option("--judge", help="cues (no model), self or probe.", metavar="NAME")] = "cues",
    model: Annotated[str | None, typer.Option("--model", help="The model that the judge reads.", metavar="MODEL")] = None,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """How well breaches of each pillar are told apart, on held-out fixtures only: a request, a reply that keeps, one that breaks."""
    from solon.constitution import fixtures as written
    from solon.constitution import store as books
    from solon.stages import principles

    whole = books.load(book)
    chosen = written.of_book(written.load(fixtures), whole)
    principles.checked_judge(judge, model)
    home = store(runs, quiet=json)
    left_out = {pillar: "no fixtures" for pillar in whole.pillars if pillar not in {one.pillar for one in chosen}}
    value: dict[str, Any] = {"book": whole.name, "hash": whole.hash, "judge": judge, "fixtures": len(chosen)}
    if model is not None:
        from solon.stages.models import resolve

        read = resolve(model, home, precision="float32")
        with home.progress.task(f"judge {judge}", principles.held_out(chosen), "pair") as advance:
            value |= principles.by_judge(judge, read, whole, chosen, advance)
        value["left_out"] = left_out
        emit(value, json, lambda: _judged(value))
        return
    with home.progress.task("evaluators", len({one.pillar for one in chosen}), "pillar") as advance:
        value |= principles.by_cues(chosen, advance)
    value |= {"left_out": {**left_out, **value["left_out"]}, "kinds": principles.by_kind(chosen), "router": principles.by_router(chosen)}
    emit(value, json, lambda: _tested(value))


def _tested(value: dict[str, Any]) -> None:
    numbers = ("n", "AUC", "sensitivity", "specificity", "pairs", "AUC of length")
    table(
        ("pillar", "part", *numbers),
        (
            (
                row["pillar"], row["slice"], row["n"], _figure(row["auc"]), _figure(row["sensitivity"]),
                _figure(row["specificity"]), _figure(row["pairs"]), f"{row['length_auc']['value']:.2f}",
            )
            for row in value["rows"]
        ),
        right=numbers,
    )  # fmt: skip
    if value["kinds"]:
        said = (f"{_figure(one['right'])} of {one['right']['n']} {one['set']}" for one in value["kinds"])
        typer.echo(f"sort of harm named rightly (chance 0.33): {', '.join(said)}\n")
    table(
        ("requests", "domain", "found", "n", "rightly", "n"),
        (
            (row["set"], row["domain"], _figure(row["found"]), _count(row["found"]), _figure(row["right"]), _count(row["right"]))
            for row in value["router"]
        ),
        right=("found", "n", "rightly"),
    )
    _said(value, "n counts texts, half of them breaches; brackets are 95 % intervals over requests; flagged from 0.5")


def _judged(value: dict[str, Any]) -> None:
    table(
        ("pillar", "pairs right", "n"),
        ((row["pillar"], _figure(row), row["n"]) for row in value["rows"]), right=("pairs right", "n"),
    )  # fmt: skip
    _said(value, value["certificate"]["note"])


def _said(value: dict[str, Any], how: str) -> None:
    typer.echo(f"{value['judge']}, fitted on {value['train']} fixtures, measured on {value['heldout']} others; {how}")
    for pillar, why in value["left_out"].items():
        typer.echo(f"not measured: {pillar}, {why}")


def _figure(one: Any) -> str:
    return f"{one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]" if one else ""


def _count(one: Any) -> str:
    return str(one["n"]) if one else ""
