"""What Solon writes, loaded by the programs it is for: transformers, peft and llama.cpp."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gguf import GGUFReader

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from solon.core.artifacts import Store  # noqa: E402
from solon.core.dense import merge  # noqa: E402
from solon.core.quantise import quantise  # noqa: E402
from solon.core.records import as_messages  # noqa: E402
from solon.generate.engine import Engine, Request  # noqa: E402
from solon.learn import lora  # noqa: E402
from solon.models.architecture import spec  # noqa: E402
from solon.models.block import jit_forward  # noqa: E402
from solon.models.formats import gguf_lora  # noqa: E402
from solon.models.formats.hf_config import hf_config  # noqa: E402
from solon.models.load import Model, load  # noqa: E402
from solon.stages import adapters  # noqa: E402
from solon.stages.export import TEXT, Order, export, on_published, prose, with_deltas  # noqa: E402
from solon.stages.models import resolve  # noqa: E402
from solon.text.template import encode_chat  # noqa: E402

pytestmark = pytest.mark.parity
ALL = ["llama", "llama-tied-scaled", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3"]
IN_GGUF = [name for name in ALL if name != "mistral"]
TOKENS = np.random.default_rng(0).integers(7, 270, (2, 40), dtype=np.int32)
CHAT = [{"role": "user", "content": "Hello  there, 12!"}, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "So?"}]


def ours(model: Model) -> np.ndarray:
    return np.asarray(jit_forward(model.arch, model.params, TOKENS)[0])


def theirs(model: Any) -> np.ndarray:
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(TOKENS).long(), use_cache=False).logits.float().numpy()


def in_transformers(folder: Path) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


@pytest.mark.parametrize("name", ALL)
def test_transformers_loads_the_folder(name: str, tiny_family, adapt, tmp_path: Path) -> None:
    model = adapt(tiny_family(name))
    export(model, "tiny", tmp_path / "out", Order("hf", shard=60_000))
    want = theirs(in_transformers(tmp_path / "out"))
    assert want.std() > 0.3
    np.testing.assert_allclose(ours(model), want, atol=1e-4)
    # For Qwen2 the automatic class puts the published splitting of text in place of the file's.
    kind = transformers.PreTrainedTokenizerFast if name == "qwen2" else transformers.AutoTokenizer
    words = kind.from_pretrained(tmp_path / "out")
    for text in (TEXT, "   two", "a\n\nb"):
        plain = [model.tokenizer.bos] if model.tokenizer.add_bos else []
        assert words(text)["input_ids"] == plain + model.tokenizer.encode(text)
        assert words(text, add_special_tokens=False)["input_ids"] == model.tokenizer.encode(text)
    chat = words.apply_chat_template(CHAT, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert chat == encode_chat(model.tokenizer, as_messages(CHAT), True)
    assert (words.bos_token_id, words.eos_token_id, words.pad_token_id) == (model.tokenizer.bos, model.tokenizer.eos, model.tokenizer.pad)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2"])
def test_peft_loads_the_adapter(name: str, tiny_family, adapt, tmp_path: Path) -> None:
    """One adapter, and two on one another whose ranks, scales and targets differ."""
    peft = pytest.importorskip("peft")
    base = tiny_family(name)
    export(base, "tiny", tmp_path / "base", Order("hf"))
    one = adapt(base, rank=4, alpha=12.0)
    two = adapt(one, rank=3, alpha=4.0, targets=("q", "o", "down"), seed=8)
    for number, model in enumerate((one, two)):
        folder = tmp_path / f"adapter-{number}"
        export(model, str(tmp_path / "base"), folder, Order("peft"))
        loaded = peft.PeftModel.from_pretrained(in_transformers(tmp_path / "base"), folder).eval()
        np.testing.assert_allclose(ours(model), theirs(loaded), atol=2e-4)
        assert np.abs(ours(model) - ours(base)).max() > 0.3
    config = peft.PeftConfig.from_pretrained(tmp_path / "adapter-1")
    assert config.base_model_name_or_path == str(tmp_path / "base") and config.r == 4 and 7 in config.rank_pattern.values()


@pytest.mark.parametrize("form", ["plain", "int8"])
def test_peft_loads_a_dora(form: str, tiny_family, tmp_path: Path) -> None:
    """Lengths and all. Trained over int8 it is put on the published weights, and the cost says how far that is from the
    model as trained: the KL divergence by torch's own logits."""
    peft = pytest.importorskip("peft")
    plain = tiny_family("llama")
    export(plain, "tiny", tmp_path / "base", Order("hf"))
    plain = resolve(str(tmp_path / "base"), Store(tmp_path / "runs"), "float32")
    ground = plain.params if form == "plain" else quantise(spec(plain.arch), plain.params, form)
    params = lora.attach(plain.arch, ground, rank=3, alpha=6.0, seed=0, targets=("q", "v", "down"), kind="dora")
    rng = np.random.default_rng(1)
    stirred = jax.tree.map(lambda x: x + jnp.asarray(rng.normal(0, 0.1, x.shape), jnp.float32), lora.adapter(params))
    model = replace(plain, params=lora.put(params, stirred))
    made = export(model, str(tmp_path / "base"), tmp_path / "out", Order("peft", max_kl=None if form == "plain" else 1.0))
    loaded = peft.PeftModel.from_pretrained(in_transformers(tmp_path / "base"), tmp_path / "out").eval()
    assert any("lora_magnitude_vector" in name for name, _ in loaded.named_parameters())
    on_plain = model if form == "plain" else on_published(model, str(tmp_path / "base"))
    np.testing.assert_allclose(ours(on_plain), theirs(loaded), atol=2e-4)
    assert np.abs(ours(on_plain) - ours(plain)).max() > 0.3
    if form == "plain":
        return
    ids = prose(model)
    with torch.no_grad():
        after = torch.log_softmax(loaded(input_ids=torch.from_numpy(ids).long(), use_cache=False).logits.double(), -1)
    before = torch.log_softmax(torch.from_numpy(np.array(jit_forward(model.arch, model.params, ids)[0])).double(), -1)
    want = float((before.exp() * (before - after)).sum(-1).mean())
    assert want > 1e-5 and made["cost"]["kl"] == pytest.approx(want, rel=2e-2)


@pytest.mark.parametrize("how", ["plain", "rslora", "patterns"])
def test_an_adapter_made_by_peft_comes_in(how: str, tiny_family, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = tiny_family("llama")
    export(base, "tiny", tmp_path / "base", Order("hf"))
    changes = {"patterns": {"rank_pattern": {"q_proj": 6}, "alpha_pattern": {"down_proj": 20}}, "rslora": {"use_rslora": True}}
    config = peft.LoraConfig(
        r=4, lora_alpha=10, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM", lora_dropout=0.1, **changes.get(how, {})
    )
    torch.manual_seed(0)
    model = peft.get_peft_model(in_transformers(tmp_path / "base"), config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    model.save_pretrained(tmp_path / "peft")
    adapters.bring_in(tmp_path / "peft", str(tmp_path / "base"), tmp_path / "mine")
    got = ours(resolve(str(tmp_path / "mine"), Store(tmp_path / "runs"), "float32"))
    np.testing.assert_allclose(got, theirs(model), atol=2e-4)
    assert np.abs(got - ours(base)).max() > 0.1


@pytest.mark.parametrize("how", ["bias", "modules_to_save", "layers_to_transform", "embeddings"])
def test_what_peft_writes_and_solon_cannot_is_refused(how: str, tiny_family, tmp_path: Path) -> None:
    from solon.core.errors import ModelError

    peft = pytest.importorskip("peft")
    export(tiny_family("llama"), "tiny", tmp_path / "base", Order("hf"))
    changes: dict[str, Any] = {
        "bias": {"bias": "all"}, "modules_to_save": {"modules_to_save": ["lm_head"]}, "layers_to_transform": {"layers_to_transform": [1]},
        "embeddings": {"target_modules": ["embed_tokens"]},
    }[how]  # fmt: skip
    config = peft.LoraConfig(**{"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", **changes})
    peft.get_peft_model(in_transformers(tmp_path / "base"), config).save_pretrained(tmp_path / "peft")
    with pytest.raises(ModelError, match=how):
        adapters.bring_in(tmp_path / "peft", str(tmp_path / "base"), tmp_path / "mine")


class LlamaCpp:
    """A model served by llama.cpp inside this process."""

    def __init__(self, path: Path, adapter: Path | None = None):
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.no_extra_bufts = True  # its AMX buffers crash on some processors
        params.n_ctx, params.n_parallel, params.warmup, params.use_jinja = 512, 1, False, True
        params.cpuparams.n_threads = 2
        if adapter:
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
        self.server = xllamacpp.Server(params)

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        address = self.server.listening_address + path
        request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def greedy(self, ids: list[int], count: int) -> list[int]:
        body = {"prompt": ids, "n_predict": count, "temperature": 0.0, "cache_prompt": False, "return_tokens": True, "ignore_eos": True}
        return self.ask("/completion", body)["tokens"]

    def tokens(self, text: str) -> list[int]:
        return self.ask("/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]


def greedy(model: Model, ids: list[int], count: int) -> list[int]:
    """Solon's most likely next tokens by the whole forward, the ends of a reply left out as llama.cpp does."""
    params, out = merge(model.params), list(ids)
    ends = sorted(model.tokenizer.stop_ids)
    rows = np.zeros((1, len(ids) + count), np.int32)
    for place in range(len(ids), len(ids) + count):
        rows[0, : len(out)] = out
        last = np.array(jit_forward(model.arch, params, rows)[0][0, place - 1])
        last[ends] = -np.inf
        out.append(int(last.argmax()))
    return out[len(ids) :]


@pytest.mark.parametrize("name", IN_GGUF)
def test_llama_cpp_writes_the_same_text(name: str, tiny_family, adapt, tmp_path: Path) -> None:
    """The whole model, and the adapter alone on its base: the same greedy tokens as Solon's."""
    pytest.importorskip("xllamacpp")
    base = tiny_family(name)
    model = adapt(base)
    export(model, "tiny", tmp_path / "whole", Order("gguf"))
    export(base, "tiny", tmp_path / "base", Order("gguf"))
    export(model, "tiny", tmp_path / "lora", Order("gguf-lora"))
    ids = [int(id) for id in TOKENS[0, :20]]
    want = greedy(model, ids, 16)
    assert np.abs(ours(model) - ours(base)).max() > 0.1
    whole = LlamaCpp(tmp_path / "whole/model.gguf")
    assert whole.greedy(ids, 16) == want
    assert LlamaCpp(tmp_path / "base/model.gguf", tmp_path / "lora/adapter.gguf").greedy(ids, 16) == want
    assert whole.tokens(TEXT) == model.tokenizer.encode(TEXT)
    rendered = whole.ask("/apply-template", {"messages": CHAT})["prompt"]
    prefix = [model.tokenizer.bos] if model.tokenizer.add_bos and not rendered.startswith("<bos>") else []
    assert prefix + whole.tokens(rendered) == encode_chat(model.tokenizer, as_messages(CHAT), True)


def parted_late(model: Model, ids: list[int], want: list[int], got: list[int]) -> bool:
    """Are two texts the same, or apart only from where two tokens are as likely for Solon, to the rounding of float16?"""
    parted = next((i for i, (x, y) in enumerate(zip(want, got, strict=True)) if x != y), None)
    if parted is None:
        return True
    scores = jit_forward(model.arch, merge(model.params), np.array([[*ids, *want[:parted]]], np.int32))[0][0, -1]
    return abs(float(scores[want[parted]] - scores[got[parted]])) < 5e-3


@pytest.mark.parametrize("name", ["llama", "gemma3"])
@pytest.mark.parametrize(("whole", "adapter"), [("f16", "f16"), ("f32", "f16"), ("f16", "f32")])
def test_llama_cpp_reads_16_bits(name: str, whole: str, adapter: str, tiny_family, adapt, tmp_path: Path) -> None:
    """The whole model in float16, and the adapter in float16 or float32 on a base in the other: the same greedy tokens as
    what Solon reads from the same file."""
    pytest.importorskip("xllamacpp")
    base = tiny_family(name)
    model = adapt(base)
    export(model, "tiny", tmp_path / "whole", Order("gguf", whole))
    export(base, "tiny", tmp_path / "base", Order("gguf", whole))
    export(model, "tiny", tmp_path / "lora", Order("gguf-lora", adapter))
    types = {str(one.tensor_type.name) for one in GGUFReader(tmp_path / "lora/adapter.gguf").tensors}
    assert types == {adapter.upper()}
    assert {one.tensor_type.name for one in GGUFReader(tmp_path / "whole/model.gguf").tensors} == {whole.upper(), "F32"}
    ids = [int(id) for id in TOKENS[0, :20]]
    plain = greedy(base, ids, 16)
    read_back = load(str(tmp_path / "whole"))
    want, got = greedy(read_back, ids, 16), LlamaCpp(tmp_path / "whole/model.gguf").greedy(ids, 16)
    assert parted_late(read_back, ids, want, got) and got != plain
    found = gguf_lora.read(tmp_path / "lora/adapter.gguf", hf_config(base.arch))
    again = with_deltas(load(str(tmp_path / "base")), found)
    want, got = greedy(again, ids, 16), LlamaCpp(tmp_path / "base/model.gguf", tmp_path / "lora/adapter.gguf").greedy(ids, 16)
    assert parted_late(again, ids, want, got) and got != plain


@pytest.mark.real
@pytest.mark.parametrize("kind", ["f32", "q8_0"])
def test_smollm2_talks_alike_in_llama_cpp(kind: str, smollm2: Model, adapt, tmp_path: Path) -> None:
    """The real model with an adapter on it, in a chat. Q8_0 is compared with its own weights as Solon reads them; llama.cpp
    rounds activations to 8 bits too, so the texts may part where two tokens are nearly as likely."""
    pytest.importorskip("xllamacpp")
    model = adapt(smollm2, rank=8, alpha=4.0, targets=("q", "v", "up"))
    made = export(model, "smollm2-135m-instruct", tmp_path / "out", Order("gguf", kind, max_kl=1.0))
    print(kind, made["check"])
    source = replace(load(str(tmp_path / "out")), tokenizer=model.tokenizer) if kind == "q8_0" else model
    ids = encode_chat(model.tokenizer, as_messages([{"role": "user", "content": "Name three colours, and say why you like each."}]), True)
    want = Engine(source).sample([Request(ids, max_tokens=32, temperature=0.0)])[0]
    got = LlamaCpp(tmp_path / "out/model.gguf").greedy(ids, 32)
    places = range(min(len(got), len(want.tokens)))
    parted = next((i for i in places if got[i] != want.tokens[i]), None)
    if parted is None:
        return
    assert kind == "q8_0" and parted >= 8
    scores = jit_forward(source.arch, source.params, jnp.asarray([[*ids, *want.tokens[:parted]]]))[0][0, -1]
    assert float(scores[want.tokens[parted]] - scores[got[parted]]) < 0.3
