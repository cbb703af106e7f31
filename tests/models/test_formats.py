"""GGUF and safetensors: layouts undone exactly, damage named, nothing pickled."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from solon.core.errors import MissingError, ModelError
from solon.models.formats import gguf, read, safetensors
from solon.text.tokenizer import BYTE_OF_CHARACTER

WIDTH, HEADS, GROUPS, SIZE, FORWARD, LAYERS = 64, 4, 2, 16, 96, 2
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3")
FOUR_NORMS = ("gemma2", "gemma3")


def shapes(arch: str, vocab: int) -> dict[str, tuple[int, ...]]:
    """Hugging Face names and shapes of a tiny model."""
    out = {"model.embed_tokens.weight": (vocab, WIDTH), "model.norm.weight": (WIDTH,)}
    norms = ["input_layernorm", "post_attention_layernorm"]
    norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"] if arch in FOUR_NORMS else []
    for n in range(LAYERS):
        base = f"model.layers.{n}."
        out |= {f"{base}{norm}.weight": (WIDTH,) for norm in norms}
        for part, heads in (("q", HEADS), ("k", GROUPS), ("v", GROUPS)):
            out[f"{base}self_attn.{part}_proj.weight"] = (heads * SIZE, WIDTH)
            if arch == "qwen2":
                out[f"{base}self_attn.{part}_proj.bias"] = (heads * SIZE,)
        out[f"{base}self_attn.o_proj.weight"] = (WIDTH, HEADS * SIZE)
        if arch in ("qwen3", "gemma3"):
            out |= {f"{base}self_attn.{part}_norm.weight": (SIZE,) for part in "qk"}
        for part, shape in (("gate", (FORWARD, WIDTH)), ("up", (FORWARD, WIDTH)), ("down", (WIDTH, FORWARD))):
            out[f"{base}mlp.{part}_proj.weight"] = shape
    if arch in ("llama", "qwen3"):
        out["lm_head.weight"] = (vocab, WIDTH)
    return out


def tiny_tensors(arch: str, vocab: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes(arch, vocab).items()}


def gguf_name(name: str, arch: str) -> str:
    """By the gguf package's own table."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    found = get_tensor_name_map(MODEL_ARCH[arch.upper()], LAYERS).get_name(name, (".weight", ".bias"))
    assert found, name
    return found


def stored(name: str, array: np.ndarray, arch: str) -> np.ndarray:
    """What llama.cpp's converter does, in its own words."""
    if arch == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
        heads = HEADS if "q_proj" in name else GROUPS
        array = (
            array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
        )
    if arch.startswith("gemma") and name.endswith("norm.weight"):
        array = array + 1
    return array


def write_gguf(path: Path, arch: str, tensors: dict[str, np.ndarray], tokens: list[str], kind: str = "F32") -> Path:
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    writer = GGUFWriter(path, arch)
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_key_length(SIZE)
    writer.add_value_length(SIZE)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(SIZE)
    if arch in FOUR_NORMS:
        writer.add_sliding_window(32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, array in tensors.items():
        array = stored(name, array, arch)
        quant = GGMLQuantizationType[kind if array.ndim == 2 and array.shape[1] % 32 == 0 else "F32"]
        writer.add_tensor(gguf_name(name, arch), quants.quantize(array, quant), raw_dtype=quant)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def vocabulary() -> list[str]:
    letters = sorted(BYTE_OF_CHARACTER, key=BYTE_OF_CHARACTER.__getitem__)
    return ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "he"]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_gguf_gives_back_hugging_faces_tensors(arch, tmp_path):
    tokens = vocabulary()
    tensors = tiny_tensors(arch, len(tokens))
    checkpoint = read(write_gguf(tmp_path / "tiny.gguf", arch, tensors, tokens))
    assert set(checkpoint.tensors) == set(tensors)
    for name, array in tensors.items():
        got = checkpoint.tensors[name]
        assert got.dtype == np.float32 and got.shape == array.shape == checkpoint.tensors.shapes[name]
        np.testing.assert_allclose(got, array, atol=2e-7, err_msg=name)
    config = checkpoint.config
    assert config["model_type"] == {"gemma3": "gemma3_text"}.get(arch, arch)
    sizes = ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size", "vocab_size")
    assert [config[size] for size in sizes] == [WIDTH, HEADS, GROUPS, SIZE, FORWARD, len(tokens)]
    assert config["rms_norm_eps"] == 1e-6 and config["eos_token_id"] == 2
    assert config["tie_word_embeddings"] == ("lm_head.weight" not in tensors)
    if arch == "gemma3":
        assert (config["sliding_window_pattern"], config["rope_local_base_freq"]) == (6, 10000.0)
        assert config["query_pre_attn_scalar"] == SIZE and config["hidden_activation"] == "gelu_pytorch_tanh"
    assert len(checkpoint.digest) == 64 and checkpoint.tokenizer.eos == 2


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_1", "Q4_0"])
def test_quantised_rows_are_unpermuted_as_floats_are(kind, tmp_path):
    tokens = vocabulary()
    tensors = tiny_tensors("llama", len(tokens))
    checkpoint = read(write_gguf(tmp_path / "tiny.gguf", "llama", tensors, tokens, kind))
    limit = {"F16": 1e-3, "BF16": 4e-3, "Q8_0": 4e-3, "Q4_1": 6e-2, "Q4_0": 8e-2}[kind]
    for name, array in tensors.items():
        assert np.abs(checkpoint.tensors[name] - array).max() < limit, name


@pytest.mark.parametrize("keep", [3, 20, 100, 3000, 0.5, -1])
def test_a_cut_gguf_is_named(keep, tmp_path):
    tokens = vocabulary()
    whole = write_gguf(tmp_path / "tiny.gguf", "llama", tiny_tensors("llama", len(tokens)), tokens).read_bytes()
    size = int(len(whole) * keep) if isinstance(keep, float) else keep
    (tmp_path / "cut.gguf").write_bytes(whole[:size])
    with pytest.raises(ModelError, match="cut short or damaged"):
        read(tmp_path / "cut.gguf")


def test_other_damage(tmp_path):
    path = tmp_path / "x.gguf"
    with pytest.raises(MissingError):
        read(path)
    path.write_bytes(b"PK\3\4" + bytes(60))
    with pytest.raises(ModelError, match="not a GGUF"):
        read(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62) + bytes(60))
    with pytest.raises(ModelError, match="cut short"):
        read(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 9, 0, 0) + bytes(60))
    with pytest.raises(ModelError, match="version"):
        read(path)


def test_random_damage_never_escapes_as_another_error(tmp_path):
    tokens = vocabulary()
    whole = write_gguf(tmp_path / "tiny.gguf", "llama", tiny_tensors("llama", len(tokens)), tokens).read_bytes()
    random = np.random.default_rng(0)
    for turn in range(300):
        draw_from = 700 if turn % 2 else 9000  # the settings, or the whole header
        hurt = bytearray(whole)
        for place in random.integers(0, draw_from, 4):
            hurt[place] = random.integers(0, 256)
        (tmp_path / "hurt.gguf").write_bytes(hurt)
        try:
            gguf.read(tmp_path / "hurt.gguf")
        except ModelError:
            pass


def test_what_is_not_known_is_refused(tmp_path):
    tokens = vocabulary()
    tensors = tiny_tensors("llama", len(tokens))
    whole = write_gguf(tmp_path / "tiny.gguf", "llama", tensors, tokens).read_bytes()
    (tmp_path / "other.gguf").write_bytes(whole.replace(b"llama", b"mamba"))
    with pytest.raises(ModelError, match=r"(?s)architecture.*mamba.*llama, qwen2"):
        read(tmp_path / "other.gguf")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(ModelError, match=r"no model\.layers\.1\.mlp\.up_proj"):
        read(write_gguf(tmp_path / "lacking.gguf", "llama", tensors, tokens))


def test_llama3_scaling_is_recognised_or_refused(tmp_path):
    from solon.models.formats.gguf_names import _llama3_scaling

    class Stub:
        path = tmp_path / "x"
        fields = {"general.architecture": "llama", "llama.rope.freq_base": 500000.0}

        def array(self, name: str) -> np.ndarray:
            return self.divisors

    stub = Stub()
    # Values of Llama 3.2 (factor 32) by the formula of its reference code, written out per frequency.
    divisors = []
    for frequency in 500000.0 ** (-np.arange(0, 64, 2) / 64):
        wave = 2 * np.pi / frequency
        if wave < 8192 / 4:
            divisors.append(1.0)
        elif wave > 8192:
            divisors.append(32.0)
        else:
            smooth = (8192 / wave - 1) / 3
            divisors.append(1 / ((1 - smooth) / 32 + smooth))
    stub.divisors = np.array(divisors, np.float32)
    assert _llama3_scaling(stub, 64)["factor"] == 32.0
    stub.divisors = stub.divisors * 1.1
    with pytest.raises(ModelError, match="rotary"):
        _llama3_scaling(stub, 64)


def write_folder(folder: Path, parts: int, dtype: object = np.float32) -> dict[str, np.ndarray]:
    """A Hugging Face folder of `parts` files."""
    from safetensors.numpy import save_file

    from solon.text.tokenizer import Tokenizer

    folder.mkdir()
    tokens = vocabulary()
    tensors = tiny_tensors("llama", len(tokens))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": WIDTH}))
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Tiny\n")
    source = write_gguf(folder.parent / "source.gguf", "llama", tensors, tokens)
    Tokenizer.from_gguf(gguf.open_file(source).fields).save(folder)
    stored = {name: array.astype(dtype) for name, array in tensors.items()}
    if parts == 1:
        save_file(stored, folder / "model.safetensors")
        return tensors
    weight_map = {}
    for part in range(parts):
        name = f"model-{part + 1:05d}-of-{parts:05d}.safetensors"
        here = {key: array for number, (key, array) in enumerate(stored.items()) if number % parts == part}
        save_file(here, folder / name)
        weight_map |= dict.fromkeys(here, name)
    (folder / safetensors.INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return tensors


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_safetensors_folder(parts, dtype, tmp_path):
    import ml_dtypes

    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    tensors = write_folder(tmp_path / "model", parts, kind)
    checkpoint = read(tmp_path / "model")
    assert set(checkpoint.tensors) == set(tensors) and checkpoint.licence == "apache-2.0"
    for name, array in tensors.items():
        got = checkpoint.tensors[name]
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, array.astype(kind).astype(np.float32))
    assert len(checkpoint.digest) == 64 and checkpoint.tokenizer.encode("<|im_end|>") == [2]


def test_broken_folders_are_named(tmp_path):
    write_folder(tmp_path / "model", 3)
    shard = tmp_path / "model" / "model-00002-of-00003.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cut short or damaged"):
        read(tmp_path / "model")
    shard.unlink()
    with pytest.raises(ModelError, match="no model-00002"):
        read(tmp_path / "model")
    index = tmp_path / "model" / safetensors.INDEX
    index.write_text(json.dumps({"weight_map": {"x": "../../secret.safetensors"}}))
    with pytest.raises(ModelError, match="outside its folder"):
        read(tmp_path / "model")


def test_pickles_are_never_loaded(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(ModelError, match="pickled"):
        read(tmp_path)
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "gptq"}}')
    with pytest.raises(ModelError, match="quantised"):
        read(tmp_path)


@pytest.mark.real
def test_real_smollm2():
    from solon.models.hub import locate

    checkpoint = read(locate("smollm2-135m-instruct", progress=False))
    assert sum(int(np.prod(shape)) for shape in checkpoint.tensors.shapes.values()) == 134_515_008
    assert (checkpoint.config["rope_theta"], checkpoint.config["tie_word_embeddings"]) == (100000.0, True)
    assert checkpoint.licence == "apache-2.0" and checkpoint.tokenizer.stop_ids == {0, 2}
    embedding = checkpoint.tensors["model.embed_tokens.weight"]
    assert embedding.shape == (49152, 576) and np.isfinite(embedding).all() and 0.05 < embedding.std() < 0.5


def reference_model(arch: str, vocab: int):
    """The same tiny architecture in transformers, with random weights that are not near their starting values."""
    import torch
    import transformers

    name = {"gemma3": "Gemma3Text"}.get(arch, arch.capitalize())
    settings = {
        "vocab_size": vocab,
        "hidden_size": WIDTH,
        "intermediate_size": FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": GROUPS,
        "head_dim": SIZE,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": arch not in ("llama", "qwen3"),
        "attn_implementation": "eager",
        "pad_token_id": 0,
    }
    if arch in FOUR_NORMS:
        settings |= {"sliding_window": 32, "query_pre_attn_scalar": SIZE}
    if arch == "gemma3":
        full, near = ({"rope_type": "default", "rope_theta": 10000.0} for _ in range(2))
        settings["rope_parameters"] = {"full_attention": full, "sliding_attention": near}
    config = getattr(transformers, name + "Config")(**settings)
    model = getattr(transformers, {"gemma3": "Gemma3"}.get(arch, arch.capitalize()) + "ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, array in tiny_tensors(arch, vocab).items():
            model.get_parameter(name).copy_(torch.from_numpy(array * 3))
    return model


def llama_cpp_logprobs(path: Path, ids: list[int], vocab: int) -> np.ndarray:
    """llama.cpp's log-probabilities of the next token."""
    import urllib.request

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.no_extra_bufts = True  # its AMX buffers crash on some processors
    params.n_ctx, params.n_parallel, params.warmup = 256, 1, False
    server = xllamacpp.Server(params)
    body = {"prompt": ids, "n_predict": 1, "n_probs": vocab, "temperature": 0.0, "cache_prompt": False}
    request = urllib.request.Request(
        server.listening_address + "/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as reply:
        top = json.load(reply)["completion_probabilities"][0]["top_logprobs"]
    out = np.full(vocab, np.nan)
    for row in top:
        out[row["id"]] = row["logprob"]
    return out


@pytest.mark.parity
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_layouts_are_what_llama_cpp_and_transformers_mean(arch, tmp_path):
    """The file makes llama.cpp compute what transformers computes, and reading it gives transformers' weights back."""
    import torch

    tokens = vocabulary()
    model = reference_model(arch, len(tokens))
    tensors = {name: model.get_parameter(name).detach().numpy() for name in shapes(arch, len(tokens))}
    path = write_gguf(tmp_path / "tiny.gguf", arch, tensors, tokens)
    ids = [5, 90, 17, 203, 44, 8, 8, 150, 31, 77, 240, 12]
    with torch.no_grad():
        expected = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].double(), -1).numpy()
    got = llama_cpp_logprobs(path, ids, len(tokens))
    known = np.isfinite(got)
    assert known.sum() > 100
    np.testing.assert_allclose(got[known], expected[known], atol=0.02)
    checkpoint = read(path)
    for name, array in tensors.items():
        np.testing.assert_allclose(checkpoint.tensors[name], array, atol=5e-7)
    # And transformers, given our tensors and settings, computes the same.
    config = type(model.config)(**{key: value for key, value in checkpoint.config.items() if key != "model_type"})
    again = type(model)(config).eval()
    state = {name: torch.from_numpy(checkpoint.tensors[name].copy()) for name in checkpoint.tensors}
    again.load_state_dict(state, strict=False)
    with torch.no_grad():
        logprobs = torch.log_softmax(again(torch.tensor([ids])).logits[0, -1].double(), -1).numpy()
    np.testing.assert_allclose(logprobs, expected, atol=1e-4)


@pytest.mark.parity
def test_real_smollm2_as_transformers_reads_it():
    from transformers import AutoModelForCausalLM

    from solon.models.hub import locate

    path = locate("smollm2-135m-instruct", progress=False)
    reference = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name).state_dict()
    checkpoint = read(path)
    for name in checkpoint.tensors:
        np.testing.assert_array_equal(checkpoint.tensors[name], reference[name].float().numpy(), err_msg=name)
    assert set(reference) - set(checkpoint.tensors) <= {"lm_head.weight"}
