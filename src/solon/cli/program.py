"""The tree of commands, and what happens when one of them fails."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from solon.cli import (
    ab,
    adapters,
    align,
    chat,
    compress,
    constitution,
    data,
    distill,
    export,
    failures,
    gate,
    guard,
    models,
    rate,
    redteam,
    release,
    runs,
    safety,
    sweep,
)
from solon.cli import eval as benchmarks
from solon.cli.show import epilog, fail
from solon.core.errors import SolonError

state = {"debug": False}


class Commands(TyperGroup):
    """A group that turns errors into one screen of words and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SolonError as error:
            if state["debug"]:
                raise
            fail(str(error))
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            if state["debug"]:
                raise
            fail("stopped; run the same command again to go on")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog("solon align recipes/quickstart.yaml", "solon chat latest:aligned", "solon runs list"),
)


def _version(wanted: bool) -> None:
    if wanted:
        from solon import __version__

        typer.echo(f"solon {__version__}")
        raise typer.Exit


@app.callback()
def solon(
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Raise an open language model by a written constitution, with the evidence that decides its release."""
    state["debug"] = debug


for part in (
    align, models, chat, constitution, data, benchmarks, runs, gate, release, failures, rate, redteam, guard, safety, sweep, compress,
    distill, export, adapters, ab,
):  # fmt: skip
    part.attach(app)
