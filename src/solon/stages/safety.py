"""The safety text classifier: fitted on labelled texts, calibrated, measured on held-out ones, and given a card."""

from __future__ import annotations

from functools import partial
from typing import Any, get_args

import numpy as np

from solon.core.artifacts import Artifact, Draft, Record, Store, digest, write_text
from solon.core.config import Config
from solon.core.errors import ConfigError
from solon.safety import classifier
from solon.safety.classifier import HEADS, Classifier
from solon.safety.head import STRENGTHS, Head, calibrated, fit, targets
from solon.safety.readers import ModelReader, Reader, SentenceReader
from solon.safety.replies import ReplyHead, calibrated_replies, fit_replies
from solon.safety.texts import Reply, Text
from solon.stages import _safety_card, _safety_figures, _safety_pictures, _safety_texts, models
from solon.stages._safety_features import Features

VERSION = 2  # heads on a model have reply heads, too; what reads is an input
EVALUATED = 3
"""The version of `evaluate`, which has had confusion matrices since 2, every output and pictures since 3."""
SIDES = get_args(_safety_texts.Side)


class Training(Config):
    """`encoder` is `minilm` or a model by any of its names; `layers` are those whose states are read (empty: the reader's choice)."""

    encoder: str = "minilm"
    layers: tuple[int, ...] = ()


def reader(config: Training, store: Store) -> Reader:
    """What reads the texts. Raises `ConfigError` for a layer that does not exist."""
    if config.encoder == "minilm":
        from solon.models.encoders import minilm

        return SentenceReader(minilm.load(), config.layers) if config.layers else SentenceReader(minilm.load())
    if len(config.layers) > 1:
        raise ConfigError("a language model is read at one layer", got=config.layers, expected="one")
    return ModelReader(models.resolve(config.encoder, store, precision="float32"), *config.layers)


def read_by(config: Training, store: Store) -> str:
    """What the artifact records of the weights that read the texts; a language model is not loaded for it."""
    if config.encoder == "minilm":
        from solon.models.encoders import minilm

        return f"minilm@{minilm.load().digest[:16]}"
    return models.source(config.encoder, store)


def opened(head: str, store: Store) -> Classifier:
    """A shipped head or the one whose card is at a path, on a model by any of its names, those of runs in this store too."""
    return classifier.load(head, partial(models.resolve, store=store, precision="float32"))


def name_of(config: Training) -> str:
    """What the files of a head are called: as the shipped one of this encoder, else `own`."""
    return next((known for known in HEADS if config.encoder.startswith(known)), "own")


def train(config: Training, store: Store) -> Artifact:
    """Files of the artifact: NAME.npz, NAME-replies.npz, NAME.json (the card), NAME.md (to read) and its pictures."""
    data = {f"{one} {side}": _digest(_safety_texts.texts(one, side)) for one in _safety_texts.sources() for side in SIDES}
    data |= {f"replies {side}": _said(_safety_texts.replies(side)) for side in SIDES}
    inputs = {"encoder": read_by(config, store), **data}
    return store.make("safety", VERSION, config.model_dump(mode="json"), inputs, partial(_train, config, store))


def evaluate(found: Classifier, store: Store) -> Artifact:
    """The figures of a head on the held-out texts as `figures.json`, their confusion matrices and pictures."""
    settings = {"head": digest(digest_of(found.head)), "card": found.card}
    data = {one: _digest(_safety_texts.texts(one, "test")) for one in _safety_texts.sources()}
    data |= {"replies": _said(_safety_texts.replies("test"))} if found.replies else {}

    def build(draft: Draft) -> None:
        rows, drawn = figures(found.head, found.replies, Features(found.reader, draft))
        _draw(draft, drawn)
        draft.write("figures.json", rows)
        draft.write("confusion.json", _safety_figures.confusions(rows))
        _report(draft, rows)

    return store.make("safety-eval", EVALUATED, settings, data, build)


def figures(head: Head, replies: ReplyHead | None, features: Features) -> tuple[list[Record], dict[str, str]]:
    """One row a figure (`_safety_figures.described`), and pictures by the names of their files."""
    tests, answers = _safety_figures.test_texts(), _safety_figures.test_replies() if replies else {}
    wanted = _safety_figures.wanted(tests, answers)
    features.add(wanted)
    read = features.read(head, wanted)
    rows = _safety_figures.of_texts(head, tests, read)
    rows += _safety_figures.of_replies(replies, answers, read) if replies else []
    return rows, _safety_pictures.pictures(head, tests, read)


def _train(config: Training, store: Store, draft: Draft) -> None:
    source, name = reader(config, store), name_of(config)
    features = Features(source, draft)
    head, fitted_on = _fit(features, draft)
    replies = _fit_replies(head, features)
    files = {f"{name}.npz": head.to_bytes(), f"{name}-replies.npz": replies.to_bytes()}
    for file, content in files.items():
        (draft.path / file).write_bytes(content)
    rows, drawn = figures(head, replies, features)
    _draw(draft, drawn, f"{name}-")
    card = _safety_card.card(name, files, head, replies, fitted_on, rows)
    draft.write(f"{name}.json", card)
    (draft.path / f"{name}.md").write_text(_safety_card.page(card), "utf-8")
    draft.kept = len(fitted_on)
    draft.licences |= {_safety_texts.licence(one) for one in _safety_texts.sources()}
    _report(draft, rows)


def _fit(features: Features, draft: Draft) -> tuple[Head, list[Text]]:
    """The calibrated head, and the texts that it was fitted on."""
    fitting, checking = ([t for one in _safety_texts.sources() for t in _safety_texts.texts(one, side)] for side in SIDES[:2])
    features.add(text.text for text in (*fitting, *checking))
    known = [targets([text.known for text in texts]) for texts in (fitting, checking)]
    x = [features.first(text.text for text in texts) for texts in (fitting, checking)]
    families = [f"{text.source} {text.family}" for text in fitting]
    source = features.reader
    facts = {"reader": source.name, "digest": source.digest, "settings": dict(source.settings)}
    with draft.progress.task("fitting", len(STRENGTHS)) as advance:
        head = fit(x[0], known[0], families, np.ones(len(fitting)), facts, advance)
    return calibrated(head, x[1], known[1]), fitting


def _fit_replies(head: Head, features: Features) -> ReplyHead:
    fitting, checking = (_safety_texts.replies(side) for side in SIDES[:2])
    wanted = _safety_figures.of_rows((*fitting, *checking))
    features.add(wanted)
    read = features.read(head, wanted)
    facts = {name: head.facts[name] for name in ("reader", "digest", "settings")}
    return calibrated_replies(fit_replies(fitting, read, facts), checking, read)


def digest_of(head: Head) -> Any:
    """What names a head in evidence: its facts and weights."""
    return [dict(head.facts), np.asarray(head.weight, np.float64).tolist(), head.threshold.tolist()]


def _digest(texts: list[Text]) -> str:
    return digest([[text.text, text.label] for text in texts])


def _said(replies: list[Reply]) -> str:
    return digest([[row.prompt, row.text, row.worse, row.harmful, row.complies] for row in replies])


def _draw(draft: Draft, drawn: dict[str, str], before: str = "") -> None:
    for file, picture in drawn.items():
        write_text(draft.path / f"{before}{file}", picture)


def _report(draft: Draft, rows: list[Record]) -> None:
    for row in rows:
        if not row["slice"] or row["figure"] == "macro-F1":
            draft.metric(f"{row['set']} {row['figure']}", row["value"], n=row["n"], ci=[row["low"], row["high"]], how=row["how"])
