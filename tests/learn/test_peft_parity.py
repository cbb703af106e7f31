"""Adapters against the real `peft`, on a tiny random llama: logits and the gradients of everything that is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from solon.learn import lora  # noqa: E402
from solon.models.architecture import LINEAR  # noqa: E402
from solon.models.block import forward  # noqa: E402
from solon.models.load import family, to_tree  # noqa: E402

pytestmark = pytest.mark.parity

SIZES = {
    "vocab_size": 61, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "initializer_range": 0.15, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}  # fmt: skip
THEIRS = {name: f"{name}_proj" for name in LINEAR} | {"embed": "embed_tokens", "unembed": "lm_head"}
RANK, ALPHA = 4, 12.0
RANKS = {r"0/q": 2, "down": 3}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lora": ({}, {}),
    "rslora": ({"kind": "rslora"}, {"use_rslora": True}),
    "dora": ({"kind": "dora"}, {"use_dora": True}),
    "ranks": ({"ranks": RANKS}, {"rank_pattern": {r"layers\.0\.self_attn\.q_proj": 2, "down_proj": 3}}),
    "tables": ({"targets": (*LINEAR, "embed", "unembed")}, {"target_modules": list(THEIRS.values())}),
}


def peft_model(make: Any) -> tuple[Any, Any, dict[str, np.ndarray]]:
    """The model with its adapters stirred, its configuration, and its plain weights by their Hugging Face names."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SIZES)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    tensors = {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}
    model = peft.get_peft_model(model, make)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad:
                p.mul_(1 + 0.2 * torch.randn_like(p)) if "magnitude" in name else p.add_(0.2 * torch.randn_like(p))
    return model, config, tensors


def graded(model: Any, ids: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Logits, trained parameters, and their gradients of the mean next-token loss."""
    out = model(input_ids=torch.from_numpy(ids).long(), use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(out[:, :-1].reshape(-1, out.shape[-1]), torch.from_numpy(ids[:, 1:]).long().reshape(-1))
    loss.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    values = {name: p.detach().numpy() for name, p in trained.items()}
    return out.detach().numpy(), values, {name: p.grad.numpy() for name, p in trained.items()}


def in_our_form(arch: Any, arrays: dict[str, dict[str, Any]], theirs: dict[str, np.ndarray]) -> dict[str, dict[str, jax.Array]]:
    """peft's parameters in the shapes of ours; where ours are padded to the largest rank, zeros."""
    out: dict[str, dict[str, jax.Array]] = {}
    for path, parts in arrays.items():
        name, stacked = path.rsplit("/", 1)[-1], path.startswith("blocks/")
        for part, ours in parts.items():
            shape, layers = ours.shape[stacked:], []
            for key, tensor in sorted(theirs.items(), key=_layer):
                if f".{THEIRS[name]}." not in key or _part(key) != part:
                    continue
                turned = tensor.T
                if part == "a":
                    turned = np.pad(turned, ((0, 0), (0, shape[-1] - turned.shape[1])))
                elif part == "b":
                    turned = np.pad(turned, ((0, shape[0] - turned.shape[0]), (0, 0)))
                layers.append(turned.reshape(shape))
            out.setdefault(path, {})[part] = jnp.asarray(np.stack(layers) if stacked else layers[0])
    return out


def _layer(item: tuple[str, Any]) -> int:
    words = item[0].split(".")
    return int(words[words.index("layers") + 1]) if "layers" in words else 0


def _part(key: str) -> str:
    marks = {"lora_A": "a", "lora_B": "b", "lora_embedding_A": "a", "lora_embedding_B": "b", "lora_magnitude_vector": "m", "ia3_l": "by"}
    return next(part for mark, part in marks.items() if f".{mark}." in key)


def check(name: str, model: Any, config: Any, tensors: dict[str, np.ndarray], form: dict[str, Any]) -> None:
    made = family("llama")
    arch = made.architecture(config.to_dict())
    base = to_tree(arch, made.names(arch), tensors, jnp.float32)
    params = lora.attach(arch, base, rank=RANK, alpha=ALPHA, seed=0, **form)
    ids = np.random.default_rng(1).integers(0, 61, (3, 20), dtype=np.int32)
    want, values, slopes = graded(model, ids)
    trained = in_our_form(arch, lora.adapter(params), values)

    def loss(trained: Any) -> Any:
        out = forward(arch, lora.put(params, trained), jnp.asarray(ids))[0]
        logp = jax.nn.log_softmax(out[:, :-1])
        return -jnp.mean(jnp.take_along_axis(logp, ids[:, 1:, None], -1)), out

    (_, got), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(trained)
    plain = np.asarray(forward(arch, base, jnp.asarray(ids))[0])
    gap = float(np.abs(np.asarray(got) - want).max())
    print(f"{name}: max |difference| {gap:.1e}, the adapter moves logits by up to {np.abs(plain - want).max():.2f}")
    assert np.abs(plain - want).max() > 0.1 and gap < 1e-4
    for path, parts in in_our_form(arch, lora.adapter(params), slopes).items():
        for part, slope in parts.items():
            np.testing.assert_allclose(grads[path][part], slope, atol=1e-4 * float(jnp.abs(slope).max()), err_msg=f"{path}.{part}")


@pytest.mark.parametrize("name", CASES)
def test_logits_and_gradients_equal_those_of_peft(name: str) -> None:
    form, settings = CASES[name]
    wanted = {"r": RANK, "lora_alpha": ALPHA, "target_modules": [THEIRS[part] for part in LINEAR], **settings}
    check(name, *peft_model(peft.LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **wanted)), form)


def test_ia3_equals_that_of_peft() -> None:
    targets = [THEIRS[name] for name in lora.TARGETS["ia3"]]
    make = peft.IA3Config(task_type="CAUSAL_LM", target_modules=targets, feedforward_modules=["down_proj"])
    check("ia3", *peft_model(make), {"kind": "ia3", "targets": lora.TARGETS["ia3"]})
