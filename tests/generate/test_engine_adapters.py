"""One engine with several adapters: every request gets its own, and the reply that an engine with that one alone would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.core.adapters import Choice
from solon.core.errors import ConfigError, MissingError
from solon.core.quantise import quantise
from solon.core.records import Reply
from solon.core.weights import abstract
from solon.generate.engine import Engine, Request, _decode, _read
from solon.learn import lora
from solon.learn.shelf import Shelf, shelf
from solon.models.architecture import LINEAR, Architecture, spec
from solon.models.load import Model
from solon.text.tokenizer import Tokenizer

pytestmark = pytest.mark.slow
ARCH = Architecture("llama", layers=2, embed=16, heads=4, kv_heads=2, head_dim=4, mlp=24, vocab=0, context=256)
BEGINNING = list(range(20, 44))  # long enough to be shared where only one model reads it
PROMPTS = [[*BEGINNING, *np.random.default_rng(i).integers(3, 200, n).tolist()] for i, n in enumerate((3, 9, 5, 1, 14, 7))]
CHOICES: list[Choice] = ["one", None, "two", {"one": 0.7, "two": -0.5}, "two", "one"]


def noise(shapes: Any, seed: int, size: float) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(0, size, s.shape), jnp.float32), shapes)


@pytest.fixture(scope="module")
def model(tiny_tokenizer: Tokenizer) -> Model:
    arch = replace(ARCH, vocab=tiny_tokenizer.vocab_size)
    return Model("tiny", arch, noise(abstract(spec(arch), arch.sizes, jnp.float32), 6, 0.4), tiny_tokenizer, "apache-2.0", "tiny")


def adapted(model: Model, seed: int, rank: int, targets: Sequence[str] = LINEAR) -> Any:
    params = lora.attach(model.arch, model.params, rank=rank, alpha=6.0, seed=seed, targets=targets)
    return lora.put(params, noise(lora.adapter(params), seed, 0.5))


@pytest.fixture(scope="module")
def several(model: Model) -> Shelf:
    return shelf(model.params, {"one": adapted(model, 1, 3), "two": adapted(model, 2, 2, ("q", "down"))})


@pytest.fixture(scope="module")
def engine(model: Model, several: Shelf) -> Engine:
    return Engine(replace(model, params=several.params), slots=4, mixture=several.mixture)


def requests(choices: Sequence[Choice]) -> list[Request]:
    """Of six prompts, five chance and one greedy; four slots, so that rows change hands."""
    given = enumerate(zip(PROMPTS, choices, strict=True))
    return [Request(p, key=(i,), max_tokens=10 + i, temperature=float(i != 2), adapter=choice) for i, (p, choice) in given]


def equal(got: Reply, expected: Reply) -> None:
    assert (got.text, got.tokens, got.finish) == (expected.text, expected.tokens, expected.finish)
    np.testing.assert_allclose(got.logprobs, expected.logprobs, atol=5e-5)


def test_every_request_gets_the_reply_of_its_own_adapter_alone(model: Model, several: Shelf, engine: Engine) -> None:
    replies = engine.sample(requests(CHOICES), seed=3)
    for i, choice in enumerate(CHOICES):
        alone = Engine(replace(model, params=several.choose([choice])), slots=4)  # one mixture for all: merged
        assert not alone.mixture and jax.tree.structure(alone.stacked) == jax.tree.structure(model.params)
        equal(replies[i], alone.sample(requests([None] * 6), seed=3)[i])
    plain = engine.sample(requests([None] * 6), seed=3)
    assert plain[1] == replies[1] and all(plain[i].tokens != replies[i].tokens for i in (0, 2, 3, 4, 5))


def test_no_choice_compiles_anything(engine: Engine) -> None:
    mine = engine.sample(requests(CHOICES), seed=3)
    before = _decode._cache_size(), _read._cache_size()
    others: list[Choice] = ["one", "two", "one", "two", {"two": 2.0}, None]
    again = engine.sample(requests(others), seed=3)
    assert again[0] == mine[0]  # whatever its neighbours chose
    assert again[2].tokens != mine[2].tokens
    assert (_decode._cache_size(), _read._cache_size()) == before
    pieces = [token for piece in engine.stream(requests(CHOICES)[2], seed=3) for token in piece]
    assert tuple(pieces) == mine[2].tokens


def test_adapters_over_a_quantised_base(model: Model) -> None:
    """The base is unpacked for the sampler, below the adapters."""
    low = replace(model, params=quantise(spec(model.arch), model.params, "int8"))
    made = shelf(low.params, {"one": adapted(low, 1, 3)})
    engine = Engine(replace(low, params=made.params), slots=4, mixture=made.mixture)
    alone = Engine(replace(low, params=adapted(low, 1, 3)), slots=4)
    for got, expected in zip(engine.sample(requests(["one"] * 6)), alone.sample(requests([None] * 6)), strict=True):
        equal(got, expected)


def test_a_choice_that_is_not_there_is_refused_before_anything_is_drawn(model: Model, engine: Engine) -> None:
    told: list[int] = []
    with pytest.raises(MissingError, match="'three'"):
        engine.sample(requests(["one", "one", "one", "one", "one", "three"]), told.append)
    with pytest.raises(ConfigError, match=r"holds none to choose from(.|\n)*one"):
        Engine(model).sample(requests(["one", *[None] * 5]), told.append)
    assert not told
