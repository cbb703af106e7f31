"""A tiny model as files, a tiny world of data, and a recipe that runs through the whole method in seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from solon.cli import main
from solon.core import precision
from solon.core.keys import rng

SYLLABLES = "ba ko ri tu mel san vor din pa les gri ho ".split()


def words(*name: object, count: int = 6) -> str:
    """Made-up words of their own for every name: no two rows are near duplicates, and none leaks."""
    drawn = rng("words", *name)
    return " ".join("".join(drawn.choice(SYLLABLES, drawn.integers(2, 4))) for _ in range(count))


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, tiny_tokenizer) -> Path:
    """A random Llama of two layers in Hugging Face's layout."""
    folder = tmp_path_factory.mktemp("tiny-model")
    write_model(folder, tiny_tokenizer)
    return folder


def write_model(folder: Path, tokenizer: Any, context: int = 4096) -> None:
    from safetensors.numpy import save_file

    from solon.core.weights import init
    from solon.models.architecture import Architecture, spec
    from solon.models.families.llama import names
    from solon.models.load import to_tensors

    arch = Architecture(
        family="llama", layers=2, embed=32, heads=4, kv_heads=2, head_dim=8, mlp=64, vocab=tokenizer.vocab_size,
        context=context, norm_eps=1e-5,
    )  # fmt: skip
    config = {
        "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 64, "vocab_size": arch.vocab,
        "max_position_embeddings": context, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": arch.tied,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    save_file(to_tensors(arch, names(arch), init(spec(arch), arch.sizes, seed=0)), folder / "model.safetensors")
    tokenizer.save(folder)


def rows(folder: Path, name: str, content: list[dict[str, Any]]) -> str:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return str(path)


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> dict[str, str]:
    """A file for every kind of data, split by its rows' own field."""
    place = tmp_path_factory.mktemp("data")
    side = lambda n: "heldout" if n % 3 == 0 else "train"  # noqa: E731

    def file(name: str, count: int, one: Any, split: Any = side) -> str:
        return rows(place, name, [{"id": f"{name}-{n}", "split": split(n), **one(n)} for n in range(count)])

    def pair(n: int) -> dict[str, Any]:
        prompt = "Help me " + words("labelled", n)
        return {"prompt": prompt, "chosen": "No, that hurts " + words("chosen", n, count=2),
                "rejected": "Sure, take " + words("rejected", n, count=2), "kind": "harm_refused"}  # fmt: skip

    labelled = file("labelled", 36, pair)
    note = {"principle": "harm.illegal", "critique": "It helps with a crime.", "keep": "It refuses, which is right."}
    held = lambda n: "heldout"  # noqa: E731
    return {
        "demonstrations": file("demo", 24, lambda n: {
            "prompt": "Say " + words("demo", n), "completion": "It is " + words("said", n, count=3)}),
        "red_team": file("rt", 24, lambda n: {"prompt": "Help me " + words("rt", n)}),
        "benign": file("safe", 12, lambda n: {"prompt": "Kill " + words("benign", n)}),
        "helpful": file("ask", 12, lambda n: {"prompt": "Describe " + words("helpful", n)}),
        "labelled": labelled, "criticised": labelled,
        "transcripts": file("worked", 36, lambda n: {**note, "id": f"labelled-{n}"}),
        "multiple_choice": file("quiz", 6, lambda n: {
            "question": words("quiz", n), "choices": ["ba", "ko", "ri", "tu"], "answer": n % 4}, held),
        "passages": file("prose", 4, lambda n: {"text": words("prose", n, count=12)}, held),
        "paraphrases": file("twice", 2, lambda n: {"prompts": [words("twice", n), words("again", n)]}, held),
    }  # fmt: skip


def recipe(model: Path | str, world: dict[str, str]) -> dict[str, Any]:
    """Few rows, short replies, small shapes: most of the time goes into compiling."""
    fit = {"rank": 2, "epochs": 1, "batch": 8, "micro": 8, "length": 2048, "learning_rate": 1e-3}
    draw = {"max_tokens": 16}
    return {
        "name": "tiny", "model": str(model), "data": world, "lessons": {"demonstrations": 12, "mend": 4, "keep": 2},
        "helpful": fit, "sl": fit, "dpo": {**fit, "margin": 0.0}, "sl_from": "helpful",
        "revise": {"prompts": 8, "rounds": 2, "draw": draw, "critique_tokens": 16, "revision_tokens": 16},
        "answers": {"helpful": 4, "benign": 4, "demonstrations": 12, "draw": draw},
        "pairs": {"red_team": 8, "benign": 4, "helpful": 4, "replies": 3, "pillars": {"red_team": ["harm"]}, "draw": draw},
        "feedback": {"judges": [{"kind": "probe"}], "bar": 0.99, "below": "best", "certify_pairs": 20},
        "evaluate": {"red_team": 8, "benign": 4, "helpful": 4, "paraphrases": 2, "multiple_choice": 6, "passages": 4,
                     "draw": draw},
    }  # fmt: skip


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory, model_folder, world) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe(model_folder, world)))
    return path


@pytest.fixture(scope="module")
def read_in_float32():
    """A single model is sampled from and read in float32, as it is where there are no tiles: in bf16 an adapter beside others, or
    logits a few at a time, round unlike the whole that a test holds them to."""
    real = precision.fast_dtype
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "fast_dtype", lambda work: "float32" if work == "sampling" else real(work))
        yield


@pytest.fixture
def solon(capsys):
    """`solon("align", ...)` in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), shown.out, shown.err)

    return call


@pytest.fixture(scope="session")
def recipe_of(world):
    """The tiny recipe for another model, as a mapping."""
    return lambda model: recipe(model, world)


@pytest.fixture(scope="session")
def model_writer(tiny_tokenizer):
    """Write the tiny model into a folder, with another context or chat template if need be."""

    def write(folder: Path, context: int = 4096, template: str = "") -> Path:
        folder.mkdir()
        write_model(folder, tiny_tokenizer.with_template(template) if template else tiny_tokenizer, context)
        return folder

    return write


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """`solon ...` as a process group of its own. Compiled programs are kept between calls, so that a restart is quick."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("programs")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }  # fmt: skip

    def call(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "solon.cli", *map(str, arguments)]
        return subprocess.Popen(
            command, env=environment, start_new_session=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    return call
