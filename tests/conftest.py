"""What all tests share: JAX on the CPU, a tiny model that needs no files, and the real small one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# Before anything imports JAX. Tests that need an accelerator say so and choose it themselves.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import pytest

if TYPE_CHECKING:
    from solon.models.load import Model
    from solon.text.tokenizer import Tokenizer

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WORDS = ["Ġ t", "h e", "Ġt he", "Ġ a", "i n", "o n", "r e", "Ġ s", "o u", "Ġ w", "e r", "Ċ Ċ", "y ou"]


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    """All bytes, a few merges and three control tokens, with the ChatML template; ends a turn with `<|im_end|>`."""
    from solon.text.tokenizer import BYTE_OF_CHARACTER, Tokenizer

    letters = sorted(BYTE_OF_CHARACTER, key=BYTE_OF_CHARACTER.__getitem__)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, *(pair.replace(" ", "") for pair in WORDS)]
    return Tokenizer.from_gguf(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "smollm",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [3, 3, 3] + [1] * (len(tokens) - 3),
            "tokenizer.ggml.merges": WORDS,
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.padding_token_id": 0,
            "tokenizer.chat_template": CHATML,
        }
    )


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer: Tokenizer) -> Model:
    """A random Llama of two layers: the whole machinery in milliseconds, and nothing sensible to say."""
    from solon.core.weights import init
    from solon.models.architecture import Architecture, spec
    from solon.models.load import Model

    arch = Architecture(
        family="llama", layers=2, embed=32, heads=4, kv_heads=2, head_dim=8, mlp=64, vocab=tiny_tokenizer.vocab_size,
        context=512, norm_eps=1e-5,
    )  # fmt: skip
    return Model("tiny", arch, init(spec(arch), arch.sizes, seed=0), tiny_tokenizer, "apache-2.0", "tiny")


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """SmolLM2-135M-Instruct in float32. Tests that use it are marked `real`; it is fetched once and cached."""
    from solon.models.load import load

    return load("smollm2-135m-instruct")
