"""Starting is quick because nothing heavy is imported before it is needed: held as a property, not as a timing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "jax", "jaxlib", "numpy", "scipy", "sklearn", "flax", "optax", "orbax", "grain", "pandas", "pyarrow", "tokenizers",
    "sentencepiece", "huggingface_hub", "gguf", "safetensors", "jinja2", "pydantic", "httpx", "sacrebleu", "nltk",
}  # fmt: skip
SOURCE = Path(__file__).parents[1] / "src"


def run(code: str, *arguments: str) -> str:
    """The output of a fresh interpreter that has the source tree on its path."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def loaded(code: str) -> set[str]:
    """The top-level packages that a piece of code brings in."""
    return set(json.loads(run(f"{code}\nimport json, sys\nprint(json.dumps(sorted({{n.split('.')[0] for n in sys.modules}})))")))


@pytest.mark.parametrize("module", ["solon", "solon.cli", "solon.core.errors"])
def test_import_is_light(module):
    assert not loaded(f"import {module}") & HEAVY


HELP = """
import contextlib, io
from solon.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["--help"])
"""


def test_help_is_light():
    assert not loaded(HELP) & HEAVY


def test_torch_is_never_needed():
    """The runtime works without torch and transformers: no module of it names them."""
    for path in (SOURCE / "solon").rglob("*.py"):
        lines = [line.split() for line in path.read_text("utf-8").splitlines()]
        named = [words[1].split(".")[0] for words in lines if len(words) > 1 and words[0] in ("import", "from")]
        assert not {"torch", "transformers", "peft"} & set(named), path


def test_no_machine_paths():
    """What is committed runs anywhere: no absolute path of a developer's machine in it."""
    for path in [*(SOURCE / "solon").rglob("*.py"), *(SOURCE.parent / "recipes").glob("*.yaml")]:
        text = path.read_text("utf-8")
        assert not any(place in text for place in ("/root/", "/work/", "/home/")), path
