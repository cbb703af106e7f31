"""Reading texts: options, rows and hidden states against the plain forward of one text at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.core.errors import DataError
from solon.core.taps import Taps
from solon.generate.score import option_logprobs, reply_features, row_logprobs
from solon.models.block import forward
from solon.models.load import Model
from solon.text.template import Tokens

WIDTH = 64
rng = np.random.default_rng(3)


def words(count: int) -> list[int]:
    return rng.integers(3, 260, count).tolist()


def row(count: int, learned: Sequence[int]) -> Tokens:
    return Tokens(words(count), [i in learned for i in range(count)])


ROWS = [row(12, range(5, 12)), row(3, [2]), row(40, [4, 5, 20, 39]), row(7, []), row(25, range(1, 25)), row(9, range(9))]


@pytest.fixture(scope="module")
def model(tiny_model: Model) -> Model:
    """Random norms too, and a window on the first layer."""
    noise = np.random.default_rng(5)
    params = jax.tree.map(lambda w: jnp.asarray(noise.normal(0, 0.4, w.shape), jnp.float32), tiny_model.params)
    return replace(tiny_model, params=params, arch=replace(tiny_model.arch, window=6, local_layers=(True, False), context=300))


@partial(jax.jit, static_argnums=0)
def plain(arch: object, params: object, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
    out, seen = forward(arch, params, tokens, Taps(keep=frozenset({"resid_post"})))
    return jax.nn.log_softmax(out), seen["resid_post"]


def read(model: Model, texts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    filled = jnp.array([[*ids, *[0] * (WIDTH - len(ids))] for ids in texts])
    logp, resid = plain(model.arch, model.params, filled)
    return np.asarray(logp), np.asarray(resid)


def test_rows_equal_the_plain_forward(model: Model) -> None:
    told: list[int] = []
    got = row_logprobs(model, ROWS, told.append)
    logp, _ = read(model, [r.ids for r in ROWS])
    for one, mine, full in zip(ROWS, got, logp, strict=True):
        places = [i for i in range(1, len(one)) if one.learn[i]]  # the first token has nothing before it
        np.testing.assert_allclose(mine, [full[i - 1, one.ids[i]] for i in places], atol=2e-5)
    assert sum(told) == sum(map(len, ROWS))


def test_features_equal_the_taps(model: Model) -> None:
    """The mean over the learned tokens of each layer, then the last token of each layer."""
    got = reply_features(model, ROWS, layers=(0, 1))
    _, resid = read(model, [r.ids for r in ROWS])
    d = model.arch.embed
    assert got.shape == (len(ROWS), 4 * d) and got.dtype == np.float32
    for i, one in enumerate(ROWS):
        places = [j for j in range(1, len(one)) if one.learn[j]]
        mean = [resid[layer, i, places].mean(0) if places else np.zeros(d) for layer in (0, 1)]
        last = [resid[layer, i, len(one) - 1] for layer in (0, 1)]
        np.testing.assert_allclose(got[i], np.concatenate([*mean, *last]), atol=5e-5)


@pytest.mark.parametrize("shared", [0, 24])  # with and without a beginning that is read once
@pytest.mark.parametrize("options", [[[7], [8], [9]], [[5, 7], [5, 8]], [[5, 7], [6, 7, 8], [9], [5, 9]]])
def test_options_equal_rows(model: Model, shared: int, options: list[list[int]]) -> None:
    beginning = words(shared)
    prompts = [[*beginning, *words(n)] for n in (4, 11, 1)]
    got = option_logprobs(model, prompts, options)
    logp, _ = read(model, [[*p, *o] for p in prompts for o in options])
    sums = [
        sum(full[len(p) - 1 + i, token] for i, token in enumerate(o))
        for full, (p, o) in zip(logp, [(p, o) for p in prompts for o in options], strict=True)
    ]
    np.testing.assert_allclose(got, np.reshape(sums, got.shape), atol=5e-5)
    rows = [Tokens([*p, *o], [False] * len(p) + [True] * len(o)) for p in prompts for o in options]
    by_row = np.array([x.sum() for x in row_logprobs(model, rows)]).reshape(got.shape)
    print(f"largest difference of options and rows: {np.abs(got - by_row).max():.1e}")
    np.testing.assert_allclose(got, by_row, atol=5e-5)


def test_an_option_of_no_tokens_does_not_spoil_its_neighbours(model: Model) -> None:
    prompt = words(5)
    got = option_logprobs(model, [prompt], [[], [7]])
    assert got[0, 0] == 0
    np.testing.assert_allclose(got[0, 1], option_logprobs(model, [prompt], [[7]])[0, 0], atol=2e-5)


def test_nothing_to_read_is_no_error(model: Model) -> None:
    assert row_logprobs(model, []) == []
    assert reply_features(model, []).shape == (0, 4 * model.arch.embed)
    assert option_logprobs(model, [], [[7]]).shape == (0, 1)
    assert option_logprobs(model, [[5]], []).shape == (1, 0)


def test_what_cannot_be_read_is_refused(model: Model) -> None:
    long = words(300)
    with pytest.raises(DataError, match="longer than the model's context"):
        row_logprobs(model, [Tokens([*long, 5], [True] * 301)])
    with pytest.raises(DataError, match="longer than the model's context"):
        option_logprobs(model, [[5], long], [[7]])
    with pytest.raises(DataError, match="a prompt is empty"):
        option_logprobs(model, [[5], []], [[7]])
