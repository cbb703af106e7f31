"""`solon chat`: talk with a model in the terminal, word by word as it writes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solon.cli.show import Json, Quantise, Runs, clean, emit, epilog, fail, note, store
from solon.core.errors import ConfigError, DataError, SolonError

if TYPE_CHECKING:
    from solon.core.adapters import Choice
    from solon.core.records import Message
    from solon.models.load import Model
    from solon.safety.guard.stream import GuardedReply
    from solon.stages.requests import Asked

HELP = "/system TEXT sets the system turn, /reset forgets the conversation, /exit ends it"
HELP_ADAPTERS = "/adapter NAME, /adapter NAME=0.7 OTHER=0.3 or /adapter none chooses what the next replies are drawn with"

SLOTS = 64  # requests of a file that are drawn at once


def attach(app: typer.Typer) -> None:
    """Hang this part's commands into the tree."""
    examples = epilog(
        "solon chat smollm2-135m-instruct",
        "solon chat latest:aligned --temperature 0 --system 'You are brief.'",
        "solon chat smollm2-135m-instruct --guard",
        "solon chat latest:aligned --quantise int4",
        "solon chat smollm2-135m-instruct --adapters kind/ honest/",
        "solon chat smollm2-135m-instruct --adapters kind/ --requests asked.jsonl --out said.jsonl",
        "echo 'What is the capital of France?' | solon chat smollm2-135m-instruct",
    )
    app.command("chat", epilog=examples)(chat)


@dataclass
class Talk:
    """A conversation with one model, and how its replies are drawn."""

    engine: Any
    tokenizer: Any
    max_tokens: int
    seed: int
    settings: dict[str, Any]
    stop: tuple[str, ...] = ()
    guard: Any = None
    adapters: tuple[str, ...] = ()
    adapter: Choice = None
    turns: list[Message] = field(default_factory=list)
    count: int = 0
    watched: GuardedReply | None = None

    @property
    def help(self) -> str:
        """What can be typed beside words to the model."""
        return f"{HELP}; {HELP_ADAPTERS}" if self.adapters else HELP

    def system(self, text: str) -> None:
        """Begin anew with a system turn (none when the text is empty)."""
        from solon.core.records import Message

        self.turns = [Message("system", text)] if text else []

    def choose(self, text: str) -> None:
        """Draw the next replies with another adapter or mixture. Raises, and changes nothing, where there is no such one."""
        from solon.stages.shelves import choice

        wanted = choice(text)
        if not self.adapters:
            raise ConfigError("this chat holds no adapters", fix="solon chat MODEL --adapters A B")
        self.engine.mixture([wanted])
        self.adapter = wanted

    def reset(self) -> None:
        """Forget all but the system turn."""
        self.turns = [turn for turn in self.turns if turn.role == "system"]

    def reply(self, text: str) -> Iterator[str]:
        """The pieces of the reply to a user's turn. A reply that is broken off stays in the conversation as far as it
        came. A turn that cannot be answered leaves no trace, nor does one that the guard stopped: neither its request nor what
        was said instead is shown to the model again."""
        from solon.core.records import Message
        from solon.text.template import encode_chat

        turns = [*self.turns, Message("user", text)]
        prompt = encode_chat(self.tokenizer, tuple(turns), add_generation_prompt=True)
        room = self.engine.arch.context - len(prompt)
        if room < 1:
            fix = "start anew with /reset, or say less at once"
            raise DataError("the conversation no longer fits the model's context", got=f"{len(prompt)} tokens", fix=fix)
        said: list[str] = []
        self.count = 0
        try:
            for piece in self._heard(tuple(turns), prompt, room):
                said.append(piece)
                yield piece
        finally:
            if said and not (self.watched and self.watched.stopped):
                self.turns = [*turns, Message("assistant", "".join(said).strip())]

    def _heard(self, turns: tuple[Message, ...], prompt: list[int], room: int) -> Iterator[str]:
        """The pieces of the reply; with a guard only what it lets through, or what is offered instead."""
        if self.guard is None:
            return (text for _, text in self._pieces(prompt, room) if text)
        from solon.safety.guard.stream import GuardedReply

        self.watched = GuardedReply(self.guard, turns, lambda: self._pieces(prompt, room))
        return iter(self.watched)

    def ruled(self) -> dict[str, str]:
        """What the guard decided of the last turn: where it was stopped and as what, both empty where it was not."""
        stopped = next((one for one in self.watched.rulings if one.stopped), None) if self.watched else None
        where, category = (stopped.side, stopped.category) if stopped else ("", "")
        return {"decision": "stop" if stopped else "pass", "where": where, "category": category}

    def _pieces(self, prompt: list[int], room: int) -> Iterator[tuple[list[int], str]]:
        """The tokens as they are drawn, each with the text that may be shown from then on."""
        from solon.generate.engine import Request
        from solon.text.tokenizer import StreamDecoder

        decoder, gate = StreamDecoder(self.tokenizer, skip_special=True), _Gate(self.stop)
        request = Request(prompt, key=("chat", len(self.turns)), max_tokens=min(self.max_tokens, room), adapter=self.adapter, **self.settings)
        for ids in self.engine.stream(request, seed=self.seed):
            self.count += len(ids)
            yield ids, gate.push("".join(map(decoder.push, ids)))
            if gate.closed:
                return
        yield [], gate.push(decoder.finish()) + gate.finish()


class _Gate:
    """Lets text through up to a stop string; holds back what may be the beginning of one."""

    def __init__(self, stop: tuple[str, ...]):
        self.stop, self.held, self.closed = stop, "", False

    def push(self, text: str) -> str:
        self.held += text
        found = [at for at in (self.held.find(s) for s in self.stop) if at >= 0]
        if found:
            self.closed = True
            out, self.held = self.held[: min(found)], ""
            return out
        keep = max((n for s in self.stop for n in range(1, len(s)) if self.held.endswith(s[:n])), default=0)
        cut = len(self.held) - keep
        out, self.held = self.held[:cut], self.held[cut:]
        return out

    def finish(self) -> str:
        return "" if self.closed else self.held


def chat(
    model: Annotated[str, typer.Argument(help="Catalogue name, folder, hub name, or RUN:role.", metavar="MODEL")],
    more: Annotated[list[str] | None, typer.Argument(help="More adapters, after --adapters.", metavar="[ADAPTER]...")] = None,
    system: Annotated[str, typer.Option("--system", metavar="TEXT", help="A system turn to begin with.")] = "",
    temperature: Annotated[float, typer.Option(min=0.0, max=5.0, help="0 always takes the likeliest token.")] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0, help="Keep the likeliest tokens up to this mass.")] = 0.95,
    top_k: Annotated[int, typer.Option(min=0, help="Keep this many tokens (0: all).")] = 0,
    min_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="Drop tokens this much less likely than the best.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest reply.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed and words give the same replies.")] = 0,
    guard: Annotated[bool, typer.Option("--guard", help="Look at every request and reply before it goes on (solon guard).")] = False,
    critique: Annotated[bool, typer.Option("--critique", help="With --guard: where the cheaper tiers doubt, ask the model as its own critic (slow).")] = False,
    quantise: Quantise = "none",
    adapters: Annotated[
        list[str] | None, typer.Option("--adapters", metavar="A [B]...", help="Adapters over MODEL, chosen for each reply; NAME=A calls one otherwise.")
    ] = None,
    requests: Annotated[
        str | None, typer.Option("--requests", metavar="FILE", help="Answer these rows (prompt or messages, adapter) in one batch, as JSON lines.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where the answers to --requests go; else standard output.")] = None,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Talk with a model. From a pipe, each line is one turn and only the replies are printed."""
    settings = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p}
    if critique and not guard:
        raise ConfigError("--critique is a tier of the guard", got="--critique without --guard", fix="give both")
    shelved = _adapters(adapters, more)
    if requests is None and out is not None:
        raise ConfigError("--out is for the answers to --requests", got=str(out), fix="give --requests FILE")
    if requests is not None:
        if guard:
            raise ConfigError("--guard watches one conversation and no file of requests", got="--guard --requests", fix="leave one of them out")
        asked = _read(requests)
        talk, _ = _open(model, runs, max_tokens, seed, settings, quantise, shelved, SLOTS)
        return _answer(talk, asked, system, out)
    talk, loaded = _open(model, runs, max_tokens, seed, settings, quantise, shelved)
    if guard:
        talk.guard = _guard(model, runs, loaded, critique)
    talk.system(system)
    if sys.stdin.isatty() and not json:
        _terminal(talk, model)
    else:
        _piped(talk, json)


def _adapters(first: list[str] | None, more: list[str] | None) -> list[str]:
    """`--adapters A B`: the option takes A, and B stands behind it."""
    if more and not first:
        raise ConfigError("one model at a time", got=" ".join(more), fix="adapters are named behind --adapters: solon chat MODEL --adapters A B")
    return [*(first or []), *(more or [])]


def _open(
    name: str, runs: Any, max_tokens: int, seed: int, settings: dict[str, Any], quantise: str = "none",
    adapters: Sequence[str] = (), slots: int = 1,
) -> tuple[Talk, Model]:  # fmt: skip
    from solon.generate.engine import Engine
    from solon.text.template import DEFAULT_TEMPLATE

    place, mixture = store(runs, quiet=True), None
    names: tuple[str, ...] = ()
    if adapters:
        from solon.stages.shelves import open_shelf

        model, shelf = open_shelf(name, adapters, place, quantise)
        names, mixture = shelf.names, shelf.mixture
    else:
        from solon.stages.models import resolve

        model = resolve(name, place, quantise=quantise)
    stop: tuple[str, ...] = ()
    if model.tokenizer.template == DEFAULT_TEMPLATE:
        note(f"{name} has no chat template of its own: it is given a transcript of User and Assistant to go on with")
        stop = ("\n\nUser:", "\nUser:")
    return Talk(Engine(model, slots, mixture), model.tokenizer, max_tokens, seed, settings, stop, adapters=names), model


def _guard(name: str, runs: Any, model: Model, critique: bool) -> Any:
    """The guard as it was measured with this model; what it decides is kept in the folder of runs."""
    from solon.safety.guard import keeping
    from solon.stages.guarding import opened

    kept = keeping.place(runs)
    guard, told = opened(store(runs, quiet=True), name, model, critique, keep=keeping.to_file(kept))
    note(f"guard: {told}; what it decides is kept in {kept}, without your words")
    guard.warm()
    return guard


def _read(path: str) -> list[Asked]:
    from solon.stages.requests import read

    return read(path)


def _answer(talk: Talk, asked: list[Asked], system: str, out: Path | None) -> None:
    """Every request in one batch, a JSON line each."""
    from json import dumps

    from solon.core.artifacts import write_rows
    from solon.stages.requests import answer

    rows = answer(talk.engine, asked, talk.max_tokens, talk.settings, talk.seed, system, talk.stop)
    if out is not None:
        write_rows(out, rows)
        return note(f"{len(rows)} answers in {out}")
    sys.stdout.writelines(dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _piped(talk: Talk, json: bool) -> None:
    """One turn a line; the replies on standard output."""
    for line in sys.stdin:
        text = line.strip()
        if not text or _command(talk, text, lambda _: None):
            continue
        begin = time.monotonic()
        if json:
            reply = "".join(talk.reply(text))
            seconds = round(time.monotonic() - begin, 3)
            drawn: dict[str, Any] = {"adapter": talk.adapter} if talk.adapters else {}
            drawn |= {"guard": talk.ruled()} if talk.guard else {}
            emit({"prompt": text, **drawn, "reply": reply.strip(), "tokens": talk.count, "seconds": seconds}, True, lambda: None)
        else:
            _print(talk.reply(text))


def _terminal(talk: Talk, name: str) -> None:
    """A prompt, the reply as it comes, and Ctrl-C to break a reply off."""
    try:
        import readline  # noqa: F401  (arrow keys and history for `input`)
    except ImportError:
        pass
    note(f"talking with {name}; {talk.help}")
    while True:
        try:
            text = input("\n> ").strip()
        except (EOFError, KeyboardInterrupt):
            note("")
            return
        if text in ("/exit", "/quit"):
            return
        begin = time.monotonic()
        try:
            if not text or _command(talk, text, note):
                continue
            _print(talk.reply(text))
            spent = time.monotonic() - begin
            if talk.guard and talk.ruled()["where"]:
                note(f"\x1b[2mstopped by the guard ({talk.ruled()['where']}); the model will not see this turn again\x1b[0m")
            note(f"\x1b[2m{talk.count} tokens, {talk.count / max(spent, 1e-9):.0f} tok/s\x1b[0m")
        except KeyboardInterrupt:
            note("\n(broken off)")
        except SolonError as error:
            fail(str(error))


def _command(talk: Talk, text: str, say: Callable[[str], None]) -> bool:
    """Carry out a line that begins with a slash; False when it is for the model."""
    word, _, rest = text.partition(" ")
    if word == "/reset":
        talk.reset()
        say("forgotten")
    elif word == "/system":
        talk.system(rest.strip())
        say("the conversation begins anew" + (" with this system turn" if rest.strip() else " without a system turn"))
    elif word == "/adapter":
        if rest.strip():
            talk.choose(rest)
        say(f"drawn with {talk.adapter or 'the model alone'}; adapters: {', '.join(talk.adapters) or 'none'}")
    elif word == "/help":
        say(talk.help)
    elif word in ("/exit", "/quit"):
        raise typer.Exit(0)
    else:
        return False
    return True


def _print(pieces: Iterator[str]) -> None:
    """Pieces as they come; leading white space is dropped, and control characters cannot steer the terminal."""
    begun = False
    for piece in pieces:
        shown = clean(piece) if begun else clean(piece).lstrip()
        begun = begun or bool(shown)
        sys.stdout.write(shown)
        sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()
