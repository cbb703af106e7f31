"""Adapter folders of Hugging Face PEFT: adapter_config.json and adapter_model.safetensors, both ways."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solon.core.errors import MissingError, ModelError
from solon.core.quantise import KINDS
from solon.models.deltas import Delta, Deltas
from solon.models.formats import safetensors

if TYPE_CHECKING:
    import numpy as np

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
FORM = "solon.base_form"

# What Solon reads, and what has no bearing on what a finished adapter computes (`loftq` and the like only choose a start).
READ = frozenset("peft_type task_type r lora_alpha use_rslora use_dora rank_pattern alpha_pattern target_modules bias init_lora_weights".split())
HARMLESS = frozenset(
    "base_model_name_or_path revision auto_mapping inference_mode lora_dropout loftq_config eva_config lora_ga_config corda_config "
    "qalora_group_size runtime_config exclude_modules peft_version megatron_core layers_pattern ensure_weight_tying".split()
)
CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways to start that also change the base's weights, which the folder does not hold."""


def write(folder: Path, deltas: Deltas, base: str, kind: str = "f32", form: str | None = None) -> None:
    """Write an adapter that `peft.PeftModel.from_pretrained` loads onto the model `base`.

    `form` is how that base was quantised in training. It goes into the metadata of the weights: peft's configuration has no
    field for it, and warns of fields that it does not know.
    """
    ranks, alphas = _patterns(deltas, lambda d: d.rank), _patterns(deltas, lambda d: _whole(d.scale * d.rank))
    dora = any(delta.m is not None for delta in deltas.values())
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "revision": None, "auto_mapping": None,
        "inference_mode": True, "r": ranks.pop(""), "lora_alpha": alphas.pop(""), "rank_pattern": ranks, "alpha_pattern": alphas,
        "target_modules": sorted({name.rpartition(".")[2] for name in deltas}), "lora_dropout": 0.0, "bias": "none",
        "use_rslora": False, "use_dora": dora, "fan_in_fan_out": False, "init_lora_weights": True, "modules_to_save": None,
        "layers_to_transform": None, "layers_pattern": None,
    }  # fmt: skip
    tensors: dict[str, np.ndarray] = {}
    for name, delta in deltas.items():
        tensors |= {f"{PREFIX}{name}.lora_A.weight": delta.a, f"{PREFIX}{name}.lora_B.weight": delta.b}
        if delta.m is not None:
            tensors[f"{PREFIX}{name}.lora_magnitude_vector"] = delta.m
    safetensors.save(folder / WEIGHTS, tensors, kind, {FORM: form} if form else {})
    (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value


def _patterns(deltas: Deltas, of: Callable[[Delta], float]) -> dict[str, Any]:
    """The most frequent value under "", and every module that differs under its whole name."""
    most = Counter(of(delta) for delta in deltas.values()).most_common(1)[0][0]
    return {"": most} | {re.escape(name): of(delta) for name, delta in deltas.items() if of(delta) != most}


def read(folder: Path) -> tuple[Deltas, str]:
    """The adapter of a folder and the name of its base model. Raises `ModelError` for what Solon does not represent."""
    path = folder / WEIGHTS
    if not (folder / CONFIG).is_file():
        raise MissingError(f"no {CONFIG} in {folder}", fix="give the folder that PEFT's save_pretrained wrote")
    config = safetensors._object(folder / CONFIG)
    _check(config)
    if not path.is_file():
        pickled = (folder / "adapter_model.bin").exists()
        got, fix = ("adapter_model.bin, which can run code", "save it as safetensors where it is trusted") if pickled else (None, "")
        raise ModelError(f"no {WEIGHTS} in {folder}", got=got, fix=fix)
    parts: dict[str, dict[str, np.ndarray]] = {}
    for tensor in safetensors.tensor_shapes(path):
        match = re.fullmatch(r"(?:base_model\.model\.)?(.+)\.lora_(A|B|magnitude_vector)(?:\.default)?(?:\.weight)?", tensor)
        if not match:
            raise ModelError("the adapter holds a tensor that Solon does not represent", got=_named(tensor))
        parts.setdefault(match[1], {})[match[2]] = safetensors.tensor(path, tensor)
    if not parts:
        raise ModelError(f"{WEIGHTS} holds no adapter", got="no lora_A and lora_B")
    return {name: _delta(config, name, both) for name, both in parts.items()}, str(config.get("base_model_name_or_path") or "")


def base_form(folder: Path) -> str | None:
    """How the base was quantised when Solon trained this adapter; None for plain weights, and for what others wrote."""
    form = safetensors.metadata(folder / WEIGHTS).get(FORM)
    if form not in (None, *KINDS):
        raise ModelError("the adapter was trained over a base in a form that is not known", got=form, expected=" or ".join(KINDS))
    return form


def _named(tensor: str) -> str:
    """The feature of PEFT that a tensor belongs to."""
    features = {
        "embed_tokens": "adapters on embeddings", "lora_embedding": "adapters on embeddings (lora_embedding_A)",
        "modules_to_save": "whole modules (modules_to_save)", ".bias": "biases (bias, lora_bias)",
    }  # fmt: skip
    return next((f"{name}: {tensor}" for mark, name in features.items() if mark in tensor), tensor)


def _delta(config: Mapping[str, Any], name: str, both: Mapping[str, np.ndarray]) -> Delta:
    if set(both) - {"magnitude_vector"} != {"A", "B"} or both["A"].ndim != 2 or both["B"].ndim != 2:
        raise ModelError("the adapter is damaged", got=f"{name} has {' and '.join(sorted(both))}", expected="matrices A and B")
    a, b, m = both["A"], both["B"], both.get("magnitude_vector")
    if bool(config.get("use_dora")) != (m is not None) or (m is not None and m.size != len(b)):
        raise ModelError(f"the adapter is damaged at {name}", got="no magnitudes" if m is None else f"magnitudes {m.shape}", expected=f"use_dora {config.get('use_dora')}")
    rank = _pattern(config.get("rank_pattern"), name, config.get("r"))
    if not a.shape[0] == b.shape[1] == rank:
        raise ModelError(f"the adapter is damaged at {name}", got=f"A {a.shape}, B {b.shape}", expected=f"rank {rank}")
    alpha = _pattern(config.get("alpha_pattern"), name, config.get("lora_alpha"))
    return Delta(a, b, float(alpha) / (rank**0.5 if config.get("use_rslora") else rank), None if m is None else m.reshape(-1))


def _pattern(patterns: Any, name: str, default: Any) -> Any:
    """PEFT's rule: the first key that matches the end of the module's name at a dot, as a regular expression."""
    for key, value in (patterns or {}).items():
        try:
            if re.fullmatch(rf"(?:.*\.)?(?:{key})", name):
                return value
        except re.error as error:
            raise ModelError(f"{CONFIG} has a pattern that is no regular expression", got=key) from error
    if not isinstance(default, int | float):
        raise ModelError(f"{CONFIG} does not give the rank and alpha of {name}", got=default)
    return default


def _check(config: Mapping[str, Any]) -> None:
    """Refuse by name what would change the result and is not read."""
    expected = {"peft_type": ("LORA",), "task_type": ("CAUSAL_LM", None), "bias": ("none", None)}
    for name, allowed in expected.items():
        if config.get(name) not in allowed:
            raise ModelError(f"Solon does not represent this kind of adapter ({name})", got=config.get(name), expected=allowed[0])
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(CHANGES_BASE):
        fix = "convert it in PEFT first: save_pretrained(..., path_initial_model_for_weight_conversion=...)"
        raise ModelError("the adapter belongs to a changed base (init_lora_weights)", got=start, fix=fix)
    off: tuple[Any, ...] = (None, False, {}, [], "")
    unknown = sorted(name for name, value in config.items() if name not in READ | HARMLESS and value not in off)
    if unknown:
        fix = "merge it in PEFT (merge_and_unload, save_pretrained) and use the merged model"
        raise ModelError(f"the adapter uses what Solon does not represent: {', '.join(unknown)}", got=config[unknown[0]], fix=fix)
