"""`solon constitution`: the written principles, checking a book, and comparing two."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from solon.cli.show import Json, clean, console, emit, epilog, facts, group, table

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
