"""Layer 6: the command line. Each command reads its arguments, calls the layer below and prints; nothing is computed here."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from solon.cli.memory import in_huge_pages
from solon.cli.program import app
from solon.core import compiled

__all__ = ["app", "main"]

COMPUTING = {"align", "eval", "redteam", "safety"}
"""Commands that train or read for minutes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 when done, 2 for a mistake that the user can mend, 130 when stopped."""
    if arguments is None and COMPUTING & set(sys.argv[1:2]):
        in_huge_pages()
    given = list(sys.argv[1:] if arguments is None else arguments)
    # `--debug` is looked for when something has already gone wrong, so people add it at the end of what they typed.
    if "--debug" in given:
        given = ["--debug", *(word for word in given if word != "--debug")]
    compiled.keep(os.environ)
    app(given, prog_name="solon")
