"""Readings of gradients: of which rows, what they come to in the evidence, and as lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from solon.core.artifacts import Draft, Record
from solon.learn import trainer
from solon.learn.gradients import summary
from solon.text.batches import Shape, fits
from solon.text.template import Tokens

MOST = 4  # tasks; every two of them have a cosine


def by_task(rows: Sequence[Record], items: Sequence[Sequence[Tokens]], shape: Shape) -> dict[str, list[list[int]]]:
    """Places of rows for two batches of each task: the odd and the even ones of its rows, as many as a batch of training holds.

    A row's task is its `kind` (a pair's prompts), else its `source` (demonstrations, transcripts, a stage's rows). `items` are
    the token rows that belong to each row. Tasks of a single row are left out, and all but the four largest."""
    task = lambda row: str(row.get("kind") or row.get("source") or "")  # noqa: E731
    largest = [name for name, _ in Counter(map(task, rows)).most_common(MOST) if name]
    found = {}
    for name in largest:
        places = [place for place, row in enumerate(rows) if task(row) == name]
        halves = [_first(places[half::2], items, shape) for half in (0, 1)]
        if all(halves):
            found[name] = halves
    return found if len(found) > 1 else {}


def _first(places: Sequence[int], items: Sequence[Sequence[Tokens]], shape: Shape) -> list[int]:
    """The first places whose rows fit one batch together."""
    chosen: list[int] = []
    for place in places:
        if not fits([row for one in [*chosen, place] for row in items[one]], shape):
            break
        chosen.append(place)
    return chosen


def tell(draft: Draft, result: trainer.Result) -> None:
    """The figures of a training's readings, into its evidence; nothing where gradients were not read."""
    if not result.gradients:
        return
    read = summary(result.gradients)
    if read["noise_scale"] is not None:
        draft.metric("gradient_noise_scale", read["noise_scale"], n=read["noise_read"], unit="items of the loss (tokens or pairs)",
                     how="trace of the covariance over squared gradient, each a mean over the readings (arXiv 1812.06162, A.1)")  # fmt: skip
    for pair, value in read["cosines"].items():
        draft.metric(f"gradient_cosine {pair}", value, n=read["readings"], unit="cosine",
                     how="mean over the readings of the cosines of batches of unlike rows; a task with itself shows what noise leaves")  # fmt: skip


def lines(readings: Sequence[Record]) -> list[str]:
    """What the readings of a training say, for a terminal."""
    read = summary(readings)
    many = lambda named: ", ".join(f"{name} {norm:.3g}" for name, norm in named)  # noqa: E731
    scale = "lost in noise, or one micro-batch a step" if read["noise_scale"] is None else f"{read['noise_scale']:,.0f} items"
    said = [
        f"{read['readings']} readings of the gradient; noise scale {scale} (a step has {read['items']:,.0f}, n {read['noise_read']})",
        f"norm by layer: {many(enumerate(read['layers']))}", f"norm by kind: {many(read['kinds'].items())}",
    ]  # fmt: skip
    cosines = ", ".join(f"{pair} {value:+.2f}" for pair, value in read["cosines"].items())
    return said + ([f"cosines of tasks: {cosines}"] if cosines else [])
