"""What `solon data preview` shows: rows as the model will see them, which tokens are learned, and how long they are.

Counting by role goes by where each message's words stand in the text, and not by the mask, so that a mask that is wrong
shows as learned tokens of a user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from solon.core.records import (
    Conversation,
    Demonstration,
    LabelledPair,
    Message,
    MultipleChoice,
    Paraphrase,
    Passage,
    Preference,
    Sample,
    WorkedCritique,
    user,
)
from solon.curate.catalogue import Source
from solon.text.template import Tokens, encode_chat, encode_training

if TYPE_CHECKING:
    from rich.console import RenderableType

    from solon.text.tokenizer import Tokenizer

MARKS = "marks"
"""The 'role' of what the template writes around the messages. Of it, only the end of an assistant's turn is learned."""
BINS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}
"""Control characters as pictures of themselves: data must not be able to command a terminal."""


@dataclass(frozen=True)
class Rendered:
    """One row: runs of text with whether they are learned, in order."""

    id: str
    runs: tuple[tuple[str, bool], ...]
    tokens: int
    learned: int


@dataclass(frozen=True)
class Preview:
    """`tokens` and `learned` are by role; `lengths` counts rows by the upper edge of their bin (0: longer than all).
    `cut` and `cut_tokens` say what training with lines of `length` would lose, and `silent` how many rows would be left
    with nothing to learn. `unplaced` counts messages whose words the template changed, so that they have no role."""

    source: str
    kind: str
    licence: str
    digest: str
    rows: int
    measured: int
    shown: tuple[Rendered, ...]
    tokens: Mapping[str, int]
    learned: Mapping[str, int]
    lengths: Mapping[int, int]
    longest: int
    length: int
    cut: int
    cut_tokens: int
    silent: int
    unplaced: int

    def coverage(self, role: str) -> float:
        """The learned share of a role's tokens."""
        return self.learned.get(role, 0) / self.tokens[role] if self.tokens.get(role) else 0.0

    @property
    def problems(self) -> list[str]:
        """What should be looked at before training."""
        found = [
            f"{self.learned[role]} tokens of the {role} would be learned"
            for role in ("system", "user")
            if self.learned.get(role)
        ]
        if self.kind in LEARNED and self.tokens.get("assistant") and self.coverage("assistant") < 1:
            found.append(f"only {self.coverage('assistant'):.1%} of the assistant's tokens would be learned")
        if self.cut:
            found.append(f"{self.cut} of {self.measured} rows are longer than {self.length} tokens and would be cut")
        if self.silent:
            found.append(f"{self.silent} of {self.measured} rows would have nothing left to learn")
        if self.unplaced:
            found.append(f"the template changes the words of {self.unplaced} messages, so roles are not counted there")
        return found


LEARNED = ("demonstrations", "preferences", "labelled_pairs")


def preview(source: Source, tokenizer: Tokenizer, length: int = 512, show: int = 3, most: int = 2000) -> Preview:
    """Render and count the first `most` rows of a source, and keep the first `show`. `length` is the line to be trained
    with, in tokens. A pair counts as two rows, one for each reply. Raises `ModelError` without a chat template."""
    tokens: Counter[str] = Counter()
    learned: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    shown: list[Rendered] = []
    sizes: list[int] = []
    unplaced = silent = 0
    for id, content in (row for record in source.rows[:most] for row in _contents(record)):
        coded = _coded(tokenizer, content, source.kind)
        roles, lost = _roles(tokenizer, coded.ids, content)
        unplaced += lost
        tokens.update(roles)
        learned.update(role for role, learn in zip(roles, coded.learn) if learn)
        sizes.append(len(coded))
        lengths[next((edge for edge in BINS if len(coded) <= edge), 0)] += 1
        # The first place of a line is never predicted.
        silent += source.kind in LEARNED and not any(coded.learn[1:length])
        if len(shown) < show:
            shown.append(Rendered(id, _runs(tokenizer, coded), len(coded), sum(coded.learn)))
    over = [size - length for size in sizes if size > length]
    return Preview(
        source.name, source.kind, source.licence, source.digest, len(source), len(sizes), tuple(shown), dict(tokens),
        dict(learned), dict(lengths), max(sizes, default=0), length, len(over), sum(over), silent, unplaced,
    )  # fmt: skip


def _contents(record: Any) -> list[tuple[str, Conversation | str]]:
    """The rows that one record makes: two for a pair, one for each wording of a paraphrase."""
    match record:
        case Demonstration():
            return [(record.id, record.messages)]
        case Sample():
            return [(record.id, record.prompt)]
        case LabelledPair(id, prompt, chosen, rejected):
            replies = (("chosen", chosen), ("rejected", rejected))
            return [(f"{id} {name}", (*prompt, Message("assistant", reply))) for name, reply in replies]
        case Preference(id, prompt, first, second):
            replies = (("first", first), ("second", second))
            return [(f"{id} {name}", (*prompt, Message("assistant", reply))) for name, reply in replies]
        case Paraphrase():
            return [(f"{record.id} {number}", user(wording)) for number, wording in enumerate(record.prompts, 1)]
        case MultipleChoice():
            return [(record.id, user("\n".join((record.question, *record.choices))))]
        case Passage():
            return [(record.id, record.text)]
        case WorkedCritique():
            return [(f"{record.id} critique", record.critique), (f"{record.id} keep", record.keep)]
    raise TypeError(f"not a row of data: {type(record).__name__}")


def _coded(tokenizer: Tokenizer, content: Conversation | str, kind: str) -> Tokens:
    if isinstance(content, str):
        ids = tokenizer.encode(content, special=False)
    elif kind in LEARNED:
        return encode_training(tokenizer, content)
    else:
        ids = encode_chat(tokenizer, content, add_generation_prompt=True)
    return Tokens(ids, [False] * len(ids))


def _roles(tokenizer: Tokenizer, ids: list[int], content: Conversation | str) -> tuple[list[str], int]:
    """Whose words each token holds, and how many messages could not be found in the text."""
    if isinstance(content, str):
        return ["text"] * len(ids), 0
    pieces = [tokenizer.token_bytes(id) for id in ids]
    text = b"".join(pieces)
    spans, after, lost = [], 0, 0
    for message in content:
        words = message.content.strip().encode()
        start = text.find(words, after)
        if start < 0:
            lost += 1
            continue
        after = start + len(words)
        spans.append((start, after, message.role))
    roles, place, current = [], 0, 0
    for piece in pieces:
        end = place + len(piece)
        while current < len(spans) and spans[current][1] <= place:
            current += 1
        inside = current < len(spans) and spans[current][0] < end and place < spans[current][1]
        roles.append(spans[current][2] if inside else MARKS)
        place = end
    return roles, lost


def _runs(tokenizer: Tokenizer, coded: Tokens) -> tuple[tuple[str, bool], ...]:
    """Text cut where the mask changes."""
    runs: list[tuple[list[int], bool]] = []
    for id, learn in zip(coded.ids, coded.learn):
        if not runs or runs[-1][1] != learn:
            runs.append(([], learn))
        runs[-1][0].append(id)
    return tuple((b"".join(map(tokenizer.token_bytes, ids)).decode(errors="replace"), learn) for ids, learn in runs)


def renderable(seen: Preview) -> RenderableType:
    """For a rich console. Learned text is green and stands between ⟦ ⟧, which also shows without colours."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    panels = []
    for row in seen.shown:
        body = Text()
        for text, learn in row.runs:
            shown = text.translate(VISIBLE)
            body.append(f"⟦{shown}⟧" if learn else shown, style="bold green" if learn else "dim")
        panels.append(
            Panel(body, title=Text(row.id), subtitle=f"{row.tokens} tokens, {row.learned} learned", expand=False)
        )
    roles = Table("role", "tokens", "learned", "share", title="by role")
    for role in sorted(seen.tokens):
        share = f"{seen.coverage(role):.1%}"
        roles.add_row(role, f"{seen.tokens[role]:,}", f"{seen.learned.get(role, 0):,}", share)
    lengths = Table("tokens", "rows", "", title="by length")
    most = max(seen.lengths.values(), default=1)
    for edge in (*BINS, 0):
        count = seen.lengths.get(edge, 0)
        if count:
            lengths.add_row(
                f"up to {edge}" if edge else f"over {BINS[-1]}", f"{count:,}", "█" * max(1, 30 * count // most)
            )
    head = Text(f"{seen.source}: {seen.rows:,} {seen.kind}, licence {seen.licence}, sha256 {seen.digest[:12]}")
    counted = Text(f"{seen.measured:,} rows measured, the longest of {seen.longest:,} tokens; lines of {seen.length}")
    notes = [Text(f"! {problem}", style="yellow") for problem in seen.problems] or [
        Text("nothing to look at", style="green")
    ]
    return Group(head, *panels, roles, lengths, counted, *notes)
