"""Models for other programs: written aside, read back, compared with the source, and only then moved into place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.artifacts import Record, Silent, file_digest, write_text
from solon.core.dense import is_adapter
from solon.core.errors import ConfigError, ModelError, nearest
from solon.core.folders import MARK, check_free, whole
from solon.core.records import as_messages
from solon.core.weights import Tree
from solon.curate import starter
from solon.learn import lora
from solon.learn.merging import LIMIT, Cost, base_form, cost, within
from solon.models import deltas
from solon.models.block import jit_forward
from solon.models.deltas import Deltas
from solon.models.formats import gguf_lora, gguf_write, peft, read, safetensors
from solon.models.formats.gguf_vocabulary import template_of
from solon.models.formats.hf_config import hf_config, require_same
from solon.models.load import Model, from_checkpoint, lazy_tensors
from solon.stages.models import base as published_model
from solon.text.template import encode_chat
from solon.text.tokenizer import Tokenizer

TYPES = {
    "hf": ("f32", "bf16", "f16"), "gguf": ("f32", "bf16", "f16", "q8_0"), "peft": ("f32", "bf16", "f16"),
    "gguf-lora": ("f32", "f16"),
}  # fmt: skip
"""Formats, and the number types each can hold."""

LIMITS = {"f32": 1e-6, "f16": 1e-3, "bf16": 1e-2, "q8_0": 1e-2}
"""Mean KL divergence (nats a token) from the source beyond which what was written counts as wrong."""

TEXT = (
    "A constitution is a set of principles. What does it ask of the one who answers, and what of the one who asks?\n\n"
    "1. Be honest: 2 + 2 = 4, not 5.\n2. It's never \"just a joke\" -- say so, don't shrug.\n\n"
    "def kept(promises):\n    return [one for one in promises if one.due <= 1234567]\n\n"
    "Größe, naïveté, привет, 你好世界, 🤗; e-mail me at someone@example.org  (two  spaces).\n"
)
CHAT = ({"role": "user", "content": "Hello! What is 7 * 8?"}, {"role": "assistant", "content": "56."}, {"role": "user", "content": "Why?"})
"""What source and copy are compared on."""

ROWS, LENGTH = 12, 96
"""Passages of prose, and tokens of each, on which what a change of the base costs is measured."""

ALONE = ("peft", "gguf-lora")
"""Formats that hold the adapter and not its base."""


@dataclass(frozen=True)
class Order:
    """What is to be written: the format, the number type, and the largest KL divergence that is accepted."""

    to: str
    kind: str = "f32"
    force: bool = False
    max_kl: float | None = None
    shard: int = safetensors.SHARD

    def check(self) -> None:
        """Raise `ConfigError` for a format or type that does not exist."""
        if self.to not in TYPES:
            raise ConfigError("no such format", got=self.to, expected=", ".join(TYPES), fix=nearest(self.to, TYPES))
        if self.kind not in TYPES[self.to]:
            raise ConfigError(f"{self.to} is not written in this type", got=self.kind, expected=", ".join(TYPES[self.to]))

    @property
    def limit(self) -> float:
        return LIMITS[self.kind] if self.max_kl is None else self.max_kl

    @property
    def most(self) -> float:
        """Nats a token that a change of the base may cost."""
        return LIMIT if self.max_kl is None else self.max_kl


def export(model: Model, base: str, out: Path, order: Order, progress: Any = None) -> Record:
    """Write a model (in float32, with its adapters as leaves) to the folder `out` and give the record kept in `solon.json`.

    `base` is the published model's name. An adapter that leaves alone will be put on that model, so it is compared there;
    where it was trained over rounded weights, what that change costs is measured as well. Raises `ConfigError` for a folder
    that is in use and `ModelError` if the copy, read back, does not compute what the source does, or if the change costs too
    much; then nothing is left at `out`.
    """
    order.check()
    check_free(out, order.force)
    progress = progress or Silent()
    with jax.default_matmul_precision("highest"), progress.stage(f"export to {order.to}"):
        source = on_published(model, base) if order.to in ALONE else model
        change = {} if source is model else {"cost": exchanged(model, source, order.most)}
        with whole(out, order.force) as folder:
            with progress.task("write", 0, "bytes") as advance:
                WRITERS[order.to](model, base, folder, order)
                advance(sum(path.stat().st_size for path in folder.iterdir()))
            with progress.task("read back and compare", 1, "copies") as advance:
                checked = compare(source, READERS[order.to](source, folder), order.limit)
                advance(1)
            made = record(model, base, folder, order, checked) | change
            if order.to not in ALONE:
                made["merged"] = [*history(base), *([made["adapter"]] if made["adapter"] else [])]
            finish(folder, made)
    return made


def on_published(model: Model, name: str) -> Model:
    """The model's adapters on the weights as they were published, which is where other programs put them; the model itself
    if it lies there. Raises `ModelError` if those are no longer what they were."""
    if base_form(model.params) is None:
        return model
    plain = published_model(name, "float32")
    if plain.digest != model.digest:
        fix = "get back the weights that the adapter was made for"
        raise ModelError(f"the adapter belongs to other weights than those of {name!r}", got=plain.digest, expected=model.digest, fix=fix)
    return with_deltas(replace(model, params=plain.params), found_deltas(model, lengths=True))


def exchanged(model: Model, on_plain: Model, most: float) -> Record:
    """What it costs that an adapter leaves the rounded base on which it was trained. Raises `ModelError` above `most`."""
    form = base_form(model.params)
    paid = cost(model.arch, model.params, on_plain.params, prose(model))
    fix = "write the merged model, which keeps its base (--to hf or gguf), or accept the cost with --max-kl"
    within(paid, most, f"the adapter was trained over a base in {form}; on the published weights it is too different a model", fix)
    return cost_record(f"the adapter on the published weights and not on those in {form}, on which it was trained", paid)


def cost_record(of: str, paid: Cost) -> Record:
    """A cost with what it is paid for, as the records of folders keep it."""
    return {"of": of, **asdict(paid)}


def prose(model: Model) -> np.ndarray:
    """The beginnings of passages that come with Solon, `[12 96]` tokens."""
    words, texts = model.tokenizer, starter.load("passages")
    start = [words.bos] if words.add_bos and words.bos is not None else []
    rows = [[*start, *words.encode(one.text, special=False)][:LENGTH] for one in texts[:: len(texts) // ROWS][:ROWS]]
    return np.array([row for row in rows if len(row) == LENGTH], np.int32)


def history(source: str) -> list[str]:
    """The adapters that were merged into a published model already; empty for one that Solon did not write."""
    path = Path(source).expanduser()
    return list(marked(path.parent if path.is_file() else path).get("merged", []))


def marked(folder: Path) -> Record:
    """What Solon noted of a folder that it wrote; nothing for any other. Raises `ModelError` for a note that is damaged."""
    mark = folder / MARK
    try:
        made = json.loads(mark.read_text("utf-8")) if mark.is_file() else {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{mark} cannot be read", got=error, fix="write the folder again") from error
    if not isinstance(made, dict):
        raise ModelError(f"{mark} cannot be read", got=type(made).__name__, expected="an object", fix="write the folder again")
    return made


def finish(folder: Path, made: Record) -> None:
    """Put the record and the card beside what was written."""
    (folder / "README.md").write_text(card(made), "utf-8")
    write_text(folder / MARK, json.dumps(made, ensure_ascii=False, indent=1) + "\n")


def record(model: Model, base: str, folder: Path, order: Order, checked: Record) -> Record:
    """What was written, from what, and how far it is from its source."""
    files = {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.is_file()}
    weights = {name: sum for name, sum in files.items() if name.endswith((".safetensors", ".gguf"))}
    lines = "".join(f"{sum}  {name}\n" for name, sum in weights.items())
    template = template_of(model.tokenizer)
    return {
        "format": order.to, "type": order.kind, "model": model.name, "base": base, "base_digest": model.digest,
        "base_form": base_form(model.params), "adapter": adapter_digest(model), "licence": model.licence,
        "weights": next(iter(weights.values())) if len(weights) == 1 else hashlib.sha256(lines.encode()).hexdigest(),
        "chat_template": None if template is None else hashlib.sha256(template.encode()).hexdigest(),
        "check": checked, "files": files, "solon": version("solon"),
    }  # fmt: skip


def adapter_digest(model: Model) -> str | None:
    """The digest of the model's adapters where they are low-rank deltas; None where there is none."""
    try:
        found = deltas.of_params(model.arch, model.params)
    except ModelError:
        return None
    return deltas.digest(found) if found else None


def card(made: Record) -> str:
    """The README of a folder: its licence where the hub and Solon look for it, and where it comes from."""
    from solon.models.hub import TERMS

    check = made["check"]
    lines = [
        "---", f"license: {made['licence']}", "---", f"# {made['model']}", "",
        f"Written by Solon {made['solon']} as `{made['format']}` ({made['type']}) from `{made['base']}`"
        + (" with an adapter." if made["adapter"] else ".") + f" Digests are in `{MARK}`.", "",
    ]  # fmt: skip
    if made.get("base_form"):
        lines += [f"The adapter was trained over the weights of `{made['base']}` rounded to {made['base_form']}.", ""]
    if made.get("cost"):
        paid = made["cost"]
        lines += [f"{paid['of'][0].upper()}{paid['of'][1:]}: a KL divergence of {paid_text(paid)}.", ""]
    if check:
        lines += [
            f"Read back, it differs from its source by at most {check['largest_difference']:.3g} in a logit, and by a KL divergence "
            f"of {check['mean_kl']:.3g} nats a token, over {check['tokens']} tokens of a fixed text.", "",
        ]  # fmt: skip
    return "\n".join([*lines, *([TERMS[made["licence"]], ""] if made["licence"] in TERMS else [])])


def paid_text(paid: Record) -> str:
    """A record's cost in one line."""
    return str(Cost(**{name: paid[name] for name in ("kl", "low", "high", "same", "n")}))


def compare(source: Model, back: Model, limit: float) -> Record:
    """Largest difference of logits and mean KL divergence on the fixed text, after a look at architecture and tokenizer."""
    require_same(source.arch, back.arch, "this format")
    ids = same_tokens(source.tokenizer, back.tokenizer)
    want, got = (np.asarray(jit_forward(m.arch, m.params, np.array([ids], np.int32))[0])[0] for m in (source, back))
    gap, kl = float(np.abs(want - got).max()), mean_kl(want, got)
    if not kl <= limit:  # a NaN is refused too
        raise ModelError(
            "what was written does not compute what the model does, so it was thrown away", got=f"mean KL {kl:.3g} nats a token",
            expected=f"at most {limit:.3g}", fix="choose a finer --type, or accept the loss with --max-kl",
        )  # fmt: skip
    same = float((want.argmax(-1) == got.argmax(-1)).mean())
    return {"largest_difference": gap, "spread": float(want.std()), "mean_kl": kl, "same_top": same, "tokens": len(ids)}


def same_tokens(source: Tokenizer, back: Tokenizer) -> list[int]:
    """The token ids of the fixed text. Raises `ModelError` if the copy's tokenizer differs on it, or in its special tokens."""
    ids = source.encode(TEXT)
    pairs: dict[str, tuple[Any, Any]] = {"the ids of a text": (ids, back.encode(TEXT))}
    for name in ("bos", "eos", "pad", "add_bos", "stop_ids"):
        pairs[name] = (getattr(source, name), getattr(back, name))
    pairs["the chat template"] = (template_of(source), template_of(back))
    if source.template is not None:
        pairs["the ids of a chat"] = tuple(encode_chat(words, as_messages(CHAT), True) for words in (source, back))  # type: ignore[assignment]
    for what, (want, got) in pairs.items():
        if want != got:
            raise ModelError(f"the tokenizer did not survive: {what}", got=str(got)[:200], expected=str(want)[:200], fix="use another format")
    return ids if source.bos is None or not source.add_bos else [source.bos, *ids]


def mean_kl(want: np.ndarray, got: np.ndarray) -> float:
    """Mean KL divergence of the next token's distributions, nats, from logits `[t v]`."""
    total = 0.0
    for p, q in zip(want.astype(np.float64), got.astype(np.float64)):
        p, q = (x - x.max() for x in (p, q))
        p, q = (x - np.log(np.exp(x).sum()) for x in (p, q))
        total += float((np.exp(p) * (p - q)).sum())
    return total / len(want)


def found_deltas(model: Model, lengths: bool = False) -> Deltas:
    """The model's adapter; `lengths` says that DoRA's are welcome. Raises `ConfigError` for a model that has none."""
    found = deltas.of_params(model.arch, model.params)
    if not found:
        raise ConfigError(f"{model.name} has no adapter", fix="name one, such as latest:aligned, or write the model with --to hf or gguf")
    return found if lengths else deltas.low_rank(found)


def with_deltas(model: Model, found: Deltas) -> Model:
    """The model's base with other adapters in place of its own, all joined in one."""
    trained, how = deltas.to_trained(model.arch, found)
    params = lora.attach(model.arch, bare(model), rank=how["rank"], alpha=how["alpha"], seed=0, targets=how["targets"], kind=how.get("kind", "lora"))
    return replace(model, params=lora.put(params, jax.tree.map(jnp.asarray, trained)))


def bare(model: Model) -> Tree:
    """The weights without any adapter."""

    def base(leaf: Any) -> Any:
        return base(leaf.base) if is_adapter(leaf) else leaf

    return jax.tree.map(base, model.params, is_leaf=is_adapter)


def _write_hf(model: Model, base: str, folder: Path, order: Order) -> None:
    tensors = lazy_tensors(model.arch, deltas.tensor_names(model.arch), model.params)
    words = model.tokenizer.with_template(template_of(model.tokenizer))
    safetensors.write(folder, hf_config(model.arch), tensors, words, order.kind, order.shard)


def _write_gguf(model: Model, base: str, folder: Path, order: Order) -> None:
    tensors = lazy_tensors(model.arch, deltas.tensor_names(model.arch), model.params)
    config = hf_config(model.arch)
    path = folder / "model.gguf"
    gguf_write.write(path, model.arch, config, tensors, model.tokenizer, order.kind, model.name, model.licence)


def _write_peft(model: Model, base: str, folder: Path, order: Order) -> None:
    peft.write(folder, found_deltas(model, lengths=True), base, order.kind, base_form(model.params))
    safetensors.write_tokenizer(folder, model.tokenizer.with_template(template_of(model.tokenizer)))


def _write_gguf_lora(model: Model, base: str, folder: Path, order: Order) -> None:
    found = found_deltas(model)
    gguf_lora.write(folder / "adapter.gguf", hf_config(model.arch), found, order.kind, model.name, base, base_form(model.params))


WRITERS: dict[str, Callable[[Model, str, Path, Order], None]] = {
    "hf": _write_hf, "gguf": _write_gguf, "peft": _write_peft, "gguf-lora": _write_gguf_lora,
}  # fmt: skip


def _read_model(model: Model, folder: Path) -> Model:
    return from_checkpoint(model.name, read(folder / "model.gguf" if (folder / "model.gguf").exists() else folder))


READERS: dict[str, Callable[[Model, Path], Model]] = {
    "hf": _read_model,
    "gguf": _read_model,
    "peft": lambda model, folder: replace(with_deltas(model, peft.read(folder)[0]), tokenizer=Tokenizer.from_folder(folder)),
    "gguf-lora": lambda model, folder: with_deltas(model, gguf_lora.read(folder / "adapter.gguf", hf_config(model.arch))),
}
