"""The shape of the code base: who may import whom, and how large things may grow (docs/design/001)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "solon"
FILES = sorted(SOURCE.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 600, 60

LAYERS = [
    {"core"},
    {"models", "text"},
    {"learn", "generate"},
    {"constitution", "safety", "evals", "explain", "curate", "tools", "vision", "control"},
    {"stages"},
    {"serve", "ops"},
    {"cli", "pipeline"},
]
LAYER = {part: number for number, parts in enumerate(LAYERS) for part in parts}
ONE_WAY = {("models", "text"), ("cli", "pipeline")}  # a loaded model has a tokenizer; a command runs the pipeline


def part_of(path: Path) -> str:
    """The folder or file directly under `src/solon` that a file belongs to."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and part of every import of Solon's own code, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide the layer"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name.split(".")[1]) for name in names if name.startswith("solon."))


def test_imports_go_down():
    wrong = []
    for path in FILES:
        here = part_of(path)
        if here == "__init__":
            continue
        for line, there in imports(path):
            if there == here or there.startswith("__") or (here, there) in ONE_WAY:
                continue
            if here not in LAYER or there not in LAYER or LAYER[there] >= LAYER[here]:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {here} must not import {there}")
    assert not wrong, "\n".join(dict.fromkeys(wrong))


def test_every_part_has_a_layer():
    assert {part_of(path) for path in FILES} - {"__init__"} <= set(LAYER)


def test_files_are_short():
    files = [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in files}
    wrong = [f"{path.relative_to(ROOT)}: {length}" for path, length in lengths.items() if length > LONGEST_FILE]
    assert not wrong, f"files over {LONGEST_FILE} lines:\n" + "\n".join(wrong)


def test_functions_are_short():
    wrong = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {length} lines")
    assert not wrong, f"functions over {LONGEST_FUNCTION} lines:\n" + "\n".join(wrong)


def test_every_folder_says_what_it_is():
    for folder in {path.parent for path in FILES}:
        init = folder / "__init__.py"
        assert init.exists(), f"{folder.relative_to(ROOT)} has no __init__.py"
        words = ast.get_docstring(ast.parse(init.read_text("utf-8"))) or ""
        assert words.strip(), f"{init.relative_to(ROOT)} has no docstring"
