"""Calling commands inside the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from solon.cli import main


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def solon(capsys, monkeypatch, tmp_path) -> Callable[..., Outcome]:
    """`solon("models", "list")`: exit code, standard output and standard error; runs lie in a folder of the test."""
    monkeypatch.setenv("SOLON_RUNS", str(tmp_path / "runs"))

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        code = ended.value.code
        return Outcome(0 if code is None else int(code), shown.out, shown.err)

    return call
