"""The judge behind an endpoint, against a real server on this machine."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from solon.constitution.judges.api import probability_of_a
from solon.constitution.judging import Question, judge_by
from solon.constitution.store import load
from solon.core.errors import ConfigError, MissingError
from solon.core.records import user

BOOK = load("core")
SECRET = "key-that-nobody-may-see"


def questions(n):
    return [Question(f"q{i}", user("private words"), "good", "bad", BOOK.principles[0]) for i in range(n)]


def said(text, logprobs=None):
    return {"choices": [{"message": {"content": text}, "logprobs": logprobs}]}


def letters(a, b):
    """The answer's tokens as a server reports them, with the letter's alternatives."""
    places = [{"token": token, "logprob": -0.01, "top_logprobs": []} for token in ("The", " answer", " is", ":", " (")]
    top = [{"token": "A", "logprob": a}, {"token": "B", "logprob": b}, {"token": "C", "logprob": -9.0}]
    return {"content": [*places, {"token": "A" if a > b else "B", "logprob": max(a, b), "top_logprobs": top}]}


@contextmanager
def server(answer):
    """`answer(body, number)` gives (status, JSON or bytes, headers); yields the address and what was received."""
    seen = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, dict(self.headers), body))
            status, content, headers = (*answer(body, len(seen)), {})[:3]
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(raw)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(raw)
            except OSError:
                pass  # the client had waited long enough

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1", seen
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def make(address, **options):
    return judge_by("api", BOOK, {"base_url": address, "model": "m", "wait": 0.01, **options})


def shows_good_first(body):
    return "(A) good" in body["messages"][-1]["content"]


def test_logprobs_in_both_orders(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", SECRET)

    def answer(body, number):
        a, b = (-0.1, -2.1) if shows_good_first(body) else (-1.1, -0.1)
        return 200, said("The answer is: (A" if a > b else "The answer is: (B", letters(a, b))

    with server(answer) as (address, seen):
        progress = []
        judge = make(address, key_from="JUDGE_KEY")
        opinions = judge.prefer(questions(3), lambda *at: progress.append(at))
    forward, backward = 1 / (1 + 2.718281828**-2.0), 1 / (1 + 2.718281828**1.0)
    for opinion in opinions:
        assert opinion.p_forward == pytest.approx(forward) and opinion.p_backward == pytest.approx(backward)
        assert opinion.p_first == pytest.approx((forward + 1 - backward) / 2)
    assert progress == [(1, 3), (2, 3), (3, 3)] and len(seen) == 6
    path, headers, body = seen[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {SECRET}"
    assert body["model"] == "m" and body["temperature"] == 0 and body["logprobs"] is True
    assert judge.name == "api:m@127.0.0.1"


def test_letters_without_logprobs():
    with server(lambda body, n: (200, said("(A)" if shows_good_first(body) else "B"))) as (address, _):
        assert [o.p_first for o in make(address).prefer(questions(2))] == [1, 1]


def test_a_busy_server_is_asked_again():
    def answer(body, number):
        return (429, {}, {"Retry-After": "0"}) if number == 1 else (503, {}) if number == 2 else (200, said("(A)"))

    with server(answer) as (address, seen):
        opinion = make(address, concurrency=1).prefer(questions(1))[0]
    assert opinion.p_first == 0.5 and opinion.p_forward == 1 and len(seen) == 4


def test_always_busy_is_an_abstention():
    with server(lambda body, n: (500, {})) as (address, seen):
        opinion = make(address, tries=2).prefer(questions(1))[0]
    assert opinion.p_first is None and opinion.note == "HTTP 500 after 2 tries" and len(seen) == 4


@pytest.mark.parametrize(
    "garbage", [b"<html>", {"error": "?"}, said("I would rather not say."), said(None), said("(A) or (B)"), []]
)
def test_garbage_is_an_abstention(garbage):
    with server(lambda body, n: (200, garbage)) as (address, _):
        opinion = make(address).prefer(questions(1))[0]
    assert opinion.p_first is None and opinion.note == "no letter in the answer"


def test_a_slow_server_is_an_abstention():
    def answer(body, number):
        time.sleep(0.5)
        return 200, said("(A)")

    with server(answer) as (address, _):
        opinion = make(address, timeout=0.1, tries=1).prefer(questions(1))[0]
    assert opinion.p_first is None and opinion.note == "timeout after 1 tries"


def test_nobody_there_is_an_abstention():
    with server(lambda body, n: (200, {})) as (address, _):
        pass
    assert make(address, tries=2).prefer(questions(1))[0].note == "network error after 2 tries"


def test_a_server_without_logprobs_is_asked_without():
    with server(lambda body, n: (400, {}) if "logprobs" in body else (200, said("(A)"))) as (address, seen):
        assert make(address, concurrency=1, tries=1).prefer(questions(2))[1].p_forward == 1
    assert sum("logprobs" in body for _, _, body in seen) == 1


def test_a_bad_request_is_not_repeated():
    with server(lambda body, n: (413, {})) as (address, seen):
        assert make(address).prefer(questions(1))[0].note == "HTTP 413"
    assert len(seen) == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_stops_and_says_nothing_private(status, monkeypatch, caplog, capfd):
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    with (
        server(lambda body, n: (status, {"error": f"{SECRET} private words"})) as (address, _),
        pytest.raises(ConfigError, match=f"HTTP {status}") as error,
    ):
        make(address, key_from="JUDGE_KEY").prefer(questions(3))
    told = str(error.value) + caplog.text + "".join(capfd.readouterr())
    assert SECRET not in told and "private words" not in told and "JUDGE_KEY" in told


def test_options():
    with pytest.raises(MissingError, match="NO_SUCH_KEY holds no key"):
        make("http://127.0.0.1:1", key_from="NO_SUCH_KEY")
    with pytest.raises(ConfigError, match=r"judge 'api'.*'timeouts'(.|\n)*did you mean 'timeout'"):
        make("http://127.0.0.1:1", timeouts=3)
    with pytest.raises(ConfigError, match="base_url"):
        make("file:///etc/passwd")


@pytest.mark.parametrize(
    "text, p",
    [("A", 1), (" (B).", 0), ("The answer is: (A)", 1), ("Answer: **B**", 0), ("B) because", 0), ("A better reply is (B)", 0),
     ("A reply", None), ("", None), ("answer is Berlin", None)],
)  # fmt: skip
def test_letters_in_text(text, p):
    assert probability_of_a(said(text)["choices"][0]) == p
