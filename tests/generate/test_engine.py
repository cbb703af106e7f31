"""Sampling with a cache against the full forward, and replies that depend on nothing but their own request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solon.core.dense import is_leaf
from solon.core.errors import DataError
from solon.core.quantise import quantise, size
from solon.core.records import Reply
from solon.core.weights import abstract, unstack
from solon.generate import engine as module
from solon.generate.engine import Engine, Request, _decode, _Plan, by_room, shared_prefix, together, unpacked
from solon.generate.score import row_logprobs
from solon.learn import lora
from solon.models.architecture import Architecture, spec
from solon.models.block import forward
from solon.models.load import Model
from solon.text.template import Tokens
from solon.text.tokenizer import Tokenizer

LLAMA = Architecture("llama", layers=2, embed=16, heads=4, kv_heads=2, head_dim=4, mlp=24, vocab=0, context=256)
GEMMA = Architecture(
    "gemma", layers=2, embed=16, heads=4, kv_heads=1, head_dim=8, mlp=24, vocab=0, context=256, norm_offset=1.0,
    activation="gelu_tanh", embed_scale=4.0, qk_norm=True, post_norms=True, window=6, local_layers=(True, False),
    rope_local_base=1e3, rope_base=1e5, final_softcap=8.0,
)  # fmt: skip
WIDTH = 64


def tiny(arch: Architecture, tokenizer: Tokenizer) -> Model:
    """Random weights, norms too."""
    arch = replace(arch, vocab=tokenizer.vocab_size)
    rng = np.random.default_rng(6)
    shapes = abstract(spec(arch), arch.sizes, jnp.float32)
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.4, s.shape), s.dtype), shapes)
    return Model("tiny", arch, params, tokenizer, "apache-2.0", "tiny")


class Unending:
    """The same tokenizer for a model that never ends its turn."""

    stop_ids = frozenset()

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> object:
        return getattr(self._tokenizer, name)


@pytest.fixture(scope="module", params=["llama", "gemma"])
def model(request: pytest.FixtureRequest, tiny_tokenizer: Tokenizer) -> Model:
    made = tiny(LLAMA if request.param == "llama" else GEMMA, tiny_tokenizer)
    return replace(made, tokenizer=Unending(tiny_tokenizer))


# Programs are compiled for a prefix, a number of slots and a length in steps of 64: the tests below share them on purpose,
# with prompts of up to 32 own tokens, up to 32 new ones, and three requests or more for four slots.
llama = pytest.mark.parametrize("model", ["llama"], indirect=True)
gemma = pytest.mark.parametrize("model", ["gemma"], indirect=True)


@pytest.fixture(scope="module")
def engine(model: Model) -> Engine:
    return Engine(model, slots=4)


def prompts(shared: int, own: Sequence[int] = (3, 9, 5, 1, 14, 7), vocab: int = 260) -> list[list[int]]:
    rng = np.random.default_rng(shared)
    beginning = rng.integers(3, vocab, shared).tolist()
    return [[*beginning, *rng.integers(3, vocab, n).tolist()] for n in own]


def plain(model: Model, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """log p of every next token `[rows, t, v]` by the full forward, rows filled up on the right, where nothing looks."""
    filled = np.array([[*row, *[0] * (WIDTH - len(row))] for row in rows])
    full = jax.jit(lambda p, t: jax.nn.log_softmax(forward(model.arch, p, t)[0]))
    return np.asarray(full(model.params, jnp.asarray(filled)))


def replies_equal(got: Sequence[Reply], expected: Sequence[Reply]) -> None:
    for a, b in zip(got, expected, strict=True):
        assert (a.text, a.tokens, a.finish) == (b.text, b.tokens, b.finish)
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=2e-5)


# 24 shared tokens are more than the window of 6, and enough to be worth sharing.
@pytest.mark.parametrize(("model", "shared"), [("llama", 0), ("gemma", 24)], indirect=["model"])
def test_cached_decoding_equals_the_full_forward_and_the_scorer(model: Model, engine: Engine, shared: int) -> None:
    """A greedy token is the best one of the forward over all before it; log-probabilities are the forward's and, however
    the token was drawn, the trainer's."""
    given = prompts(shared)
    assert shared_prefix(given) == shared
    warm = {"top_k": 50, "top_p": 0.95, "min_p": 0.01}
    how = [{"temperature": 0.0} if i % 2 else {"temperature": 0.9, **warm} for i in range(len(given))]
    replies = engine.sample([Request(p, key=(i,), max_tokens=12, **how[i]) for i, p in enumerate(given)])
    full = plain(model, [[*p, *r.tokens] for p, r in zip(given, replies, strict=True)])
    here = [logp[len(p) - 1 : len(p) + 11] for p, logp in zip(given, full, strict=True)]
    for reply, logp in list(zip(replies, here, strict=True))[1::2]:
        assert reply.tokens == tuple(logp.argmax(-1))
    apart = [np.abs(logp[np.arange(12), r.tokens] - r.logprobs).max() for r, logp in zip(replies, here, strict=True)]
    scored = against_scorer(model, given, replies)
    print(f"largest difference of log-probabilities: full forward {max(apart):.1e}, scorer {scored:.1e}")
    assert max(apart) < 2e-5 and scored < 2e-5


def against_scorer(model: Model, given: Sequence[Sequence[int]], replies: Sequence[Reply]) -> float:
    """The largest difference between the sampler's log-probabilities and those of reading the reply."""
    pairs = list(zip(given, replies, strict=True))
    rows = [Tokens([*p, *r.tokens], [False] * len(p) + [True] * len(r.tokens)) for p, r in pairs]
    return max(float(np.abs(a - r.logprobs).max()) for a, r in zip(row_logprobs(model, rows), replies, strict=True))


@gemma
def test_a_reply_depends_on_its_own_request_alone(model: Model, engine: Engine) -> None:
    """Not on its neighbours, their settings, the order, the slots, or on whether a prefix is shared."""
    own = [Request(p, key=("row", i), max_tokens=10 + i, temperature=0.8) for i, p in enumerate(prompts(24))]
    expected = engine.sample(own, seed=3)
    assert len({r.tokens[:4] for r in expected}) > 1
    replies_equal(engine.sample(own[::-1], seed=3)[::-1], expected)
    strangers = [Request(p, ("other", i), 5, top_k=50, top_p=0.5, min_p=0.1) for i, p in enumerate(prompts(0))]
    mixed = engine.sample([r for pair in zip(strangers, own, strict=True) for r in pair], seed=3)
    replies_equal(mixed[1::2], expected)
    replies_equal(engine.sample(own[2:3], seed=3), expected[2:3])
    assert engine.sample(own, seed=4)[0].tokens != expected[0].tokens
    assert engine.sample([replace(own[0], key=("row", 9)), *own[1:]], seed=3)[0].tokens != expected[0].tokens


@llama
def test_more_requests_than_slots_with_mixed_lengths(model: Model, engine: Engine) -> None:
    """Slots are given on; every reply comes back, in order and of its own length, and progress adds up."""
    lengths = [1, 17, 3, 0, 8, 25, 9, 2, 16, 5, 7]
    given = prompts(0, own=[1 + (7 * i) % 30 for i in range(11)])
    requests = [Request(p, key=(i,), max_tokens=n) for i, (p, n) in enumerate(zip(given, lengths, strict=True))]
    made: list[int] = []
    replies = engine.sample(requests, made.append)
    assert [len(r.tokens) for r in replies] == [len(r.logprobs) for r in replies] == lengths
    assert {r.finish for r in replies} == {"length"} and sum(made) == sum(lengths)
    replies_equal(Engine(model, slots=16).sample(requests), replies)
    assert engine.sample([]) == []


@llama
def test_calls_that_share_their_others_share_the_program_that_decodes(engine: Engine) -> None:
    """Shapes fit the others too: by itself the second call would share a prefix of 24 tokens, and be compiled for it."""
    every = [Request(p, key=(i,), max_tokens=20) for i, p in enumerate([*prompts(0), *prompts(24)])]
    first = engine.sample(every[:3], others=every)
    before = _decode._cache_size()
    second = engine.sample(every[6:9], others=every)
    assert _decode._cache_size() == before
    assert shared_prefix([r.prompt for r in every[6:9]]) == 24
    replies_equal([*first, *second], [engine.sample(every)[i] for i in (0, 1, 2, 6, 7, 8)])


@llama
def test_pieces_of_a_stream_are_the_reply(engine: Engine) -> None:
    request = Request(prompts(0)[1], key=("s",), max_tokens=11)
    pieces = list(engine.stream(request, seed=2))
    assert all(len(piece) == 1 for piece in pieces)
    assert tuple(id for piece in pieces for id in piece) == engine.sample([request] * 3, seed=2)[0].tokens


@llama
def test_a_stop_string_cuts_exactly(engine: Engine) -> None:
    """Wherever it falls: the text ends before it, and the tokens are those that wrote the text."""
    request = Request(prompts(0)[4], key=("c",), max_tokens=30, temperature=1.5)
    whole = engine.sample([request] * 3)[0]
    assert whole.finish == "length"
    stops = sorted({whole.text[i : i + n] for i in range(1, len(whole.text) - 3) for n in (1, 3)} - {"\ufffd"})[::4]
    cut = engine.sample([replace(request, stop=(stop,)) for stop in stops])
    for stop, reply in zip(stops, cut, strict=True):
        assert reply.finish == "stop" and reply.text == whole.text[: whole.text.find(stop)]
        count = len(reply.tokens)
        assert reply.tokens == whole.tokens[:count] and len(reply.logprobs) == count
        np.testing.assert_allclose(reply.logprobs, whole.logprobs[:count], atol=2e-5)
        decode = engine.tokenizer.decode
        assert decode(reply.tokens, skip_special=True).startswith(reply.text)
        assert count == 0 or not decode(reply.tokens[:-1], skip_special=True).startswith(reply.text) or not reply.text
    first = engine.sample([replace(request, stop=tuple(stops))] * 3)[0]
    assert first.text == min((r.text for r in cut), key=len)
    assert engine.sample([replace(request, stop=("never said",))] * 3)[0] == whole


def test_half_a_character_is_not_the_character(tiny_model: Model) -> None:
    tokens = tiny_model.tokenizer.encode("é!")
    engine = Engine(tiny_model)
    assert len(tokens) == 3 and engine._tokens_up_to(tokens, "é") == 2 and engine._tokens_up_to(tokens, "") == 0


def test_a_stop_token_ends_the_reply_and_is_its_last_token(tiny_tokenizer: Tokenizer) -> None:
    """The same model without an end goes on with the same tokens; the stop token is not in the text."""
    ending, unending = (tiny(LLAMA, tiny_tokenizer) for _ in range(2))
    unending = replace(unending, tokenizer=Unending(tiny_tokenizer))
    stop = next(iter(tiny_tokenizer.stop_ids))
    for model in (ending, unending):
        model.params["embed"] = model.params["embed"].at[stop].multiply(3.0)
    requests = [Request(p, key=(i,), max_tokens=30, temperature=2.0) for i, p in enumerate(prompts(0))]
    cut, whole = Engine(ending).sample(requests), Engine(unending).sample(requests)
    assert any(r.finish == "stop" for r in cut)
    for a, b in zip(cut, whole, strict=True):
        count = next((i + 1 for i, t in enumerate(b.tokens) if t in tiny_tokenizer.stop_ids), 30)
        assert a.tokens == b.tokens[:count] and len(a.logprobs) == count
        assert a.finish == ("stop" if a.tokens[-1] in tiny_tokenizer.stop_ids else "length")
        assert a.text == tiny_tokenizer.decode(a.tokens, skip_special=True) and "<|im_end|>" not in a.text


def test_adapters_merged_for_sampling_agree_with_unmerged(tiny_tokenizer: Tokenizer) -> None:
    model = replace(tiny(LLAMA, tiny_tokenizer), tokenizer=Unending(tiny_tokenizer))
    params = lora.attach(model.arch, model.params, rank=4, alpha=8.0, seed=1)
    rng = np.random.default_rng(2)
    noisy = {
        n: {"a": w["a"], "b": jnp.asarray(rng.normal(0, 0.3, w["b"].shape), "f")}
        for n, w in lora.adapter(params).items()
    }
    adapted = replace(model, params=lora.put(params, noisy))
    given = prompts(0)
    requests = [Request(p, key=(i,), max_tokens=12) for i, p in enumerate(given)]
    replies = Engine(adapted).sample(requests)
    assert [r.tokens for r in replies] != [r.tokens for r in Engine(model).sample(requests)]
    worst = against_scorer(adapted, given, replies)
    print(f"largest difference of log-probabilities, merged and unmerged: {worst:.1e}")
    assert worst < 5e-5


@llama
def test_what_cannot_be_sampled_is_refused(engine: Engine) -> None:
    good = Request([5, 6], max_tokens=2)
    with pytest.raises(DataError, match="a prompt is empty"):
        engine.sample([good, Request([])])
    with pytest.raises(DataError, match=r"does not fit(.|\n)*250 tokens of prompt and 7 to make(.|\n)*256 in all"):
        engine.sample([good, Request([5] * 250, max_tokens=7)])
    assert _Plan.of(engine.arch, jnp.float32, [Request([5] * 250, max_tokens=6)], 4, 8).length >= 256  # just fits


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_small_quantised_models_are_unpacked_once_and_say_the_same(kind: str, tiny_tokenizer: Tokenizer) -> None:
    model = tiny(LLAMA, tiny_tokenizer)
    packed = replace(model, params=quantise(spec(model.arch), model.params, kind, ""))
    quick, slim = Engine(packed), Engine(packed)
    slim.stacked = packed.params
    slim.unrolled = {**packed.params, "blocks": unstack(packed.params["blocks"], model.arch.layers)}
    assert not any(is_leaf(x) for x in jax.tree.leaves(quick.unrolled, is_leaf=is_leaf))
    assert any(is_leaf(x) for x in jax.tree.leaves(slim.unrolled, is_leaf=is_leaf))
    requests = [Request([5, 6, 7], key=(i,), max_tokens=12, temperature=float(i)) for i in range(2)]
    for one, two in zip(quick.sample(requests), slim.sample(requests), strict=True):
        assert one.tokens == two.tokens
        np.testing.assert_allclose(one.logprobs, two.logprobs, atol=1e-4)


def test_what_takes_too_much_memory_unpacked_stays_packed(tiny_tokenizer: Tokenizer) -> None:
    model = tiny(LLAMA, tiny_tokenizer)
    params = quantise(spec(model.arch), model.params, "int4", "")
    whole = size(model.params)
    assert size(unpacked(params, whole)) == whole
    assert unpacked(params, whole - 1) is params


def test_shared_prefix() -> None:
    row = list(range(40))
    assert shared_prefix([row, [*row[:20], 99, 98]]) == 20
    assert shared_prefix([row, row[:20]]) == 19  # each keeps a token of its own to be asked about
    assert shared_prefix([row, row[:20]], spare=3) == 17
    assert shared_prefix([row, [*row[:15], 99]]) == 0  # too short to be worth it
    assert shared_prefix([row]) == 0 and shared_prefix([]) == 0


def test_long_requests_leave_the_short_ones_their_slots(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory is short they are drawn in groups, and every reply is the one that it would be alone."""
    rng = np.random.default_rng(3)
    asked = [Request(rng.integers(3, 200, n).tolist(), key=("k", i), max_tokens=6) for i, n in enumerate([5, 200, 9, 3, 210, 7])]
    assert by_room(asked) == [[0, 2, 3, 5], [1, 4]]
    plenty = Engine(model, slots=8)
    whole = plenty.sample(asked, seed=1)
    slots = []
    drawn = Engine._drawn
    monkeypatch.setattr(Engine, "_drawn", lambda self, part, seed, progress, plan: slots.append((len(part), plan.slots)) or drawn(self, part, seed, progress, plan))
    monkeypatch.setattr(module, "CACHE_BYTES", 3 * size(module.cache_for(model.arch, 1, 256, jnp.float32)))
    tight = Engine(model, slots=8).sample(asked, seed=1)
    assert [count for count, _ in slots] == [4, 2]
    assert [reply.tokens for reply in tight] == [reply.tokens for reply in whole]
    assert plenty.sample([], seed=1) == []


@pytest.mark.parametrize(("widths", "rows"), [([32] * 20, 16), ([64] * 16, 16), ([64] * 15 + [128], 4), ([256] * 9, 4), ([320] * 9, 1), ([32] * 3, 4), ([512], 1)])
def test_so_many_prompts_are_read_at_once(widths: list[int], rows: int) -> None:
    assert together(widths) == rows


def test_a_bf16_batch_behind_a_prefix_is_what_the_trainer_computes(model: Model) -> None:
    """With the kernel for attention where there is one: windows, a prefix and several key heads, to bf16's rounding."""
    low = replace(model, params=jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.ndim > 2 else x, model.params))
    rng = np.random.default_rng(4)
    before = rng.integers(3, 200, 40).tolist()
    asked = [Request(before + rng.integers(3, 200, n).tolist(), key=("k", i), max_tokens=30) for i, n in enumerate([3, 50, 9, 33])]
    replies = Engine(low, slots=4).sample(asked, seed=1)
    rows = [Tokens([*one.prompt, *reply.tokens], [False] * len(one.prompt) + [True] * len(reply.tokens)) for one, reply in zip(asked, replies, strict=True)]
    gaps = np.concatenate([np.abs(np.array(reply.logprobs) - logp) for reply, logp in zip(replies, row_logprobs(low, rows), strict=True)])
    assert gaps.size == 120 and gaps.mean() < 0.03 and gaps.max() < 0.3, (gaps.mean(), gaps.max())
