"""Errors that say what is wrong, what was got, what was expected, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SolonError(Exception):
    """Root of every error that a user can mend; the command line prints it without a traceback and exits with 2."""

    def __init__(self, what: str, *, got: object = None, expected: object = None, fix: str = ""):
        lines = [what]
        if got is not None:
            lines.append(f"  got:      {got}")
        if expected is not None:
            lines.append(f"  expected: {expected}")
        if fix:
            lines.append(f"  to do:    {fix}")
        super().__init__("\n".join(lines))


class ConfigError(SolonError, ValueError):
    """A recipe or an option that cannot be carried out."""


class DataError(SolonError, ValueError):
    """A data file or row that does not have the promised form."""


class ModelError(SolonError, ValueError):
    """Weights, a model configuration or a tokenizer that cannot be used."""


class MissingError(SolonError, LookupError):
    """Something named by the user does not exist."""


class TrainingError(SolonError, ArithmeticError):
    """Training went wrong numerically: not a number, or a spike of the loss."""


class StorageError(SolonError, OSError):
    """The disk or the network did not do its part."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as `did you mean 'rank'?`, or the list of known names when nothing is near."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(known)
