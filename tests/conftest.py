"""What all tests share: JAX on the CPU, a tiny model that needs no files, and the real small one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before anything imports JAX. Tests that need an accelerator say so and choose it themselves.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from solon.core import compiled

# Most of the time of the tests is spent in compiling, the same programs in every process and every run (a fifth of it where they are kept).
PROGRAMS = {**os.environ, "SOLON_COMPILED": os.environ.get("SOLON_COMPILED") or str(Path.home() / ".cache" / "solon" / "tests")}
if compiled.keep(PROGRAMS):
    os.environ["JAX_COMPILATION_CACHE_DIR"] = PROGRAMS["JAX_COMPILATION_CACHE_DIR"]
    os.environ |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}

import pytest  # noqa: E402

if TYPE_CHECKING:
    from solon.models.load import Model
    from solon.safety.classifier import Classifier
    from solon.text.tokenizer import Tokenizer

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WORDS = ["Ġ t", "h e", "Ġt he", "Ġ a", "i n", "o n", "r e", "Ġ s", "o u", "Ġ w", "e r", "Ċ Ċ", "y ou"]


@pytest.fixture(scope="session", autouse=True)
def quick_artifacts() -> Iterator[None]:
    """Giving memory back after every artifact is most of the time that artifacts as small as the tests' take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("solon.core.artifacts._give_back", lambda: None)
        yield


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


@pytest.fixture
def word_classifier(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Classifier]:
    """`word_classifier("bomb", "kill")` puts a classifier in the shipped one's place that counts these words: harm is the sigmoid
    of 3 a word less 2, and a reply does as much as its own words do. The shipped one takes half a minute to compile."""
    import numpy as np

    from solon.safety import classifier
    from solon.safety.head import OUTPUTS, Head
    from solon.safety.readers import Reading

    class Words:
        name, digest, settings = "words", "0" * 64, {"reader": "words"}

        def __init__(self, words: tuple[str, ...]):
            self.words = words

        def read(self, text: str) -> Reading:
            return Reading(np.array([[sum(text.lower().count(word) for word in self.words)]], np.float32), False)

    class Own(classifier.Classifier):
        def _reply(self, turns: Any) -> classifier.Score:
            return self._text(turns[-1].content)

    def use(*words: str) -> Classifier:
        ones, flat = np.ones(len(OUTPUTS), np.float32), np.zeros(1, np.float32)
        facts = {"digest": Words.digest, "settings": Words.settings}
        head = Head(np.full((len(OUTPUTS), 1), 3, np.float32), -2 * ones, flat, flat + 1, ones, ones / 2, facts)
        own = Own(Words(words), head, None, "card-of-the-test")
        monkeypatch.setattr(classifier, "load", lambda name="minilm", find=None: own)
        monkeypatch.setattr(classifier, "card", lambda name="minilm": {"id": own.card})
        return own

    return use


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """SmolLM2-135M-Instruct in float32. Tests that use it are marked `real`; it is fetched once and cached."""
    from solon.models.load import load

    return load("smollm2-135m-instruct")
