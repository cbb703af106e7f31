"""How results reach a person or a machine: tables and coloured words on a terminal, JSON with `--json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from solon.core.artifacts import Store

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Runs = Annotated[
    Path | None, typer.Option("--runs", metavar="DIR", help="Folder of runs and artifacts (or SOLON_RUNS; else ./runs).")
]
Quantise = Annotated[
    str, typer.Option("--quantise", metavar="FORM", help="Read and write with every matrix in 8 or 4 bits: none, int8 or int4.")
]


def epilog(*commands: str) -> str:
    """The examples under a command's help, one a line."""
    return "\n\n".join(["[bold]Examples[/bold]", *(command.replace("[", "\\[") for command in commands)])


def group(help: str) -> typer.Typer:
    """A command that has commands of its own."""
    return typer.Typer(help=help, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})


def fail(message: str) -> None:
    """An error on standard error: the first line red where there are colours."""
    if not sys.stderr.isatty():
        sys.stderr.write(f"error: {message}\n")
        return
    from rich.console import Console
    from rich.text import Text

    first, _, rest = message.partition("\n")
    console = Console(stderr=True, highlight=False)
    console.print(Text.assemble(("error: ", "bold red"), (first, "red")), soft_wrap=True)
    if rest:
        console.print(Text(rest), soft_wrap=True)


def note(message: str) -> None:
    """A remark on standard error, so that standard output holds only results."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def plain(value: Any) -> Any:
    """The JSON form of a record."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def emit(value: Any, as_json: bool, human: Callable[[], None]) -> None:
    """Print a result: as JSON, or by the function that writes for people."""
    if as_json:
        sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, indent=2) + "\n")
    else:
        human()


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[str] = ()) -> None:
    """A table; columns named in `right` hold figures. Cells are plain text, never markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    numbers = set(right)
    out = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        out.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        out.add_row(*(Text(clean("" if cell is None else str(cell))) for cell in row))
    console().print(out)


def facts(pairs: Mapping[str, Any]) -> None:
    """Names and values in two columns."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, value in pairs.items():
        grid.add_row(Text(name, style="bold"), Text(clean(str(value))))
    console().print(grid)


def console() -> Any:
    """Standard output; as wide as its content where it is not a terminal, so that nothing is cut in a file."""
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=200)


def clean(text: str) -> str:
    """Text that cannot steer a terminal: what models and files say is shown, never obeyed."""
    return "".join(c if c.isprintable() or c in "\n\t" or ord(c) in (0x200D, 0xFE0F) else "\ufffd" for c in text)


def store(runs: Path | None, quiet: bool = False) -> Store:
    """The folder of runs, with progress on standard error unless a machine is listening."""
    from solon.core.artifacts import Store

    if quiet:
        return Store(runs)
    from solon.cli.progress import Progress

    progress = Progress()
    progress.listen()
    return Store(runs, progress)


def size(count: float, unit: str = "") -> str:
    """`134.5M`, `98.4 MB`: a number as people read it."""
    for limit, letter in ((1e9, "G" if unit else "B"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= limit:
            return f"{count / limit:.1f}{' ' if unit else ''}{letter}{unit}"
    return f"{count:.0f}{' ' + unit if unit else ''}"


def clock(seconds: float) -> str:
    """`41 s`, `3:07`, `1:02:33`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
