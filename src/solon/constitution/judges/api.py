"""A judge behind any endpoint that speaks OpenAI's chat completions, local or remote.

It sends prompts and replies to that address and to no other, and to none that was not named. The key is read from an
environment variable; neither key nor text ever appears in an error, a note or a log.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import Field

from solon.constitution.compare import comparison_conversation, soft_label
from solon.constitution.judging import Labelled, Opinion, Progress, Question, both_orders
from solon.constitution.store import Book
from solon.constitution.validation import Record, checked
from solon.core.errors import ConfigError, MissingError, StorageError
from solon.core.records import as_json

if TYPE_CHECKING:
    import httpx

    from solon.models.load import Model

TOP = 5  # alternatives asked for; the letters are among them or the judge did not answer
LONGEST_WAIT = 60.0  # seconds, whatever the server asks for
# What a token may look like in which the answer's letter stands: "A", " A", "(A", "(A)".
_LETTER_TOKEN = re.compile(r"^\W*([AB])\W*$")
# In a sentence only "(B)", "answer is B" and a leading "B)" count: "A" alone is also an article. The last bracket may
# be cut off.
_LETTER = re.compile(r"\(([AB])(?:\)|$)|^\W*([AB])(?:\W*$|[).:,])|\b[Aa]nswer(?: is)?:?[ *]*([AB])\b")


class Options(Record):
    """Where the judge is and how it is asked. `wait` is the first pause before another try, in seconds."""

    base_url: str = Field(pattern=r"^https?://")
    model: str
    key_from: str = ""
    timeout: float = Field(default=60.0, gt=0)
    tries: int = Field(default=4, ge=1)
    wait: float = Field(default=1.0, ge=0)
    concurrency: int = Field(default=4, ge=1, le=64)
    shots: int | None = Field(default=None, ge=0)
    seed: int = 0


class ApiJudge:
    """Asks for one letter, in both orders; abstains where none comes."""

    fitted_on: frozenset[str] = frozenset()

    def __init__(self, book: Book, options: Options):
        self.book, self.options = book, options
        self.name = f"api:{options.model}@{urlsplit(options.base_url).hostname}"
        self._headers = {}
        if options.key_from:
            if not os.environ.get(options.key_from):
                raise MissingError(
                    f"the environment variable {options.key_from} holds no key", fix="set it before you start Solon"
                )
            self._headers["Authorization"] = f"Bearer {os.environ[options.key_from]}"
        self._logprobs = True  # until the server says that it does not know the field

    def prefer(self, questions: Sequence[Question], progress: Progress | None = None) -> list[Opinion]:
        """One opinion a question. Raises `ConfigError` when the server refuses the key, the address or the model."""
        import httpx

        opinions: list[Opinion] = []
        with (
            httpx.Client(headers=self._headers, timeout=self.options.timeout) as client,
            ThreadPoolExecutor(self.options.concurrency) as pool,
        ):
            try:
                for opinion in pool.map(lambda one: self._opinion(client, one), questions):
                    opinions.append(opinion)
                    if progress:
                        progress(len(opinions), len(questions))
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return opinions

    def _opinion(self, client: httpx.Client, question: Question) -> Opinion:
        chosen: list[float | None] = []
        notes = []
        for swapped in (False, True):
            try:
                p = self._ask(client, question, swapped)
                notes += [] if p is not None else ["no letter in the answer"]
            except StorageError as failed:
                p = None
                notes.append(str(failed))
            chosen.append(p)
        return both_orders(chosen[0], chosen[1], "; ".join(dict.fromkeys(notes)))

    def _ask(self, client: httpx.Client, question: Question, swapped: bool) -> float | None:
        conversation, _ = comparison_conversation(
            self.book, question, self.options.seed, swapped=swapped, shots=self.options.shots
        )
        body = {"model": self.options.model, "messages": as_json(conversation), "temperature": 0, "max_tokens": 16}
        answer = self._post(client, body)
        try:
            choice = answer["choices"][0]
            return probability_of_a(choice)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            return None

    def _post(self, client: httpx.Client, body: dict[str, Any]) -> Any:
        """The server's answer, or `StorageError` after the last try; what went wrong is said without what was sent."""
        import httpx

        problem, tries = "", 0
        while tries < self.options.tries:
            pause = self.options.wait * 2**tries
            tries += 1
            asked = {**body, "logprobs": True, "top_logprobs": TOP} if self._logprobs else body
            try:
                got = client.post(self.options.base_url.rstrip("/") + "/chat/completions", json=asked)
            except httpx.TransportError as failed:
                problem = "timeout" if isinstance(failed, httpx.TimeoutException) else "network error"
            else:
                if got.is_success:
                    return _json(got)
                problem = f"HTTP {got.status_code}"
                if got.status_code in (400, 422) and "logprobs" in asked:
                    self._logprobs = False
                    tries -= 1
                    continue
                self._refused(got.status_code)
                pause = max(pause, _retry_after(got))
            if tries < self.options.tries:
                time.sleep(min(pause, LONGEST_WAIT))
        raise StorageError(f"{problem} after {tries} tries")

    def _refused(self, status: int) -> None:
        """Raise for what no second try will mend."""
        if status in (408, 409, 425, 429) or status >= 500:
            return
        if status in (401, 403, 404):
            named = self.options.key_from or "none"
            raise ConfigError(
                f"the judge's server refuses the request (HTTP {status})",
                got=f"model {self.options.model!r} at {urlsplit(self.options.base_url).hostname}, key from {named}",
                fix="check base_url, model and the key's environment variable (option key_from)",
            )
        raise StorageError(f"HTTP {status}")


def probability_of_a(choice: Mapping[str, Any]) -> float | None:
    """P(A) from one choice of the answer: from the letters' log-probabilities where given, else 1 or 0 by the letter.

    None where the answer names no letter, or both."""
    said = {next(filter(None, found)) for found in _LETTER.findall(choice["message"]["content"] or "")}
    if len(said) != 1:
        return None
    for place in (choice.get("logprobs") or {}).get("content") or []:
        letter = _LETTER_TOKEN.match(place["token"])
        if letter is None or letter[1] not in said:
            continue
        mass = {"A": -math.inf, "B": -math.inf}
        # Servers differ in whether the chosen token is among the alternatives.
        listed = {one["token"]: float(one["logprob"]) for one in (place, *(place.get("top_logprobs") or ()))}
        for token, logprob in listed.items():
            found = _LETTER_TOKEN.match(token)
            if found:
                mass[found[1]] = _either(mass[found[1]], logprob)
        return soft_label(mass["A"], mass["B"])
    return float(said == {"A"})


def _either(a: float, b: float) -> float:
    """log(exp a + exp b)."""
    top = max(a, b)
    return top if top == -math.inf else top + math.log(math.exp(a - top) + math.exp(b - top))


def _json(got: httpx.Response) -> Any:
    try:
        return got.json()
    except ValueError:
        return {}


def _retry_after(got: httpx.Response) -> float:
    """Seconds the server asks to wait; the form with a date is left to the back-off."""
    value = got.headers.get("retry-after", "")
    return float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else 0.0


def judge(book: Book, options: Mapping[str, Any], model: Model | None, labelled: Sequence[Labelled]) -> ApiJudge:
    """A judge at an address. It needs no model here and learns nothing from the labelled pairs."""
    return ApiJudge(book, checked(Options, options, "judge 'api'", ConfigError))
