"""What a checked program begins with: it runs an answer, then its tests, and ends well only if both ran to their end.

It is not imported but put, as text, before a call of `check` (solon/evals/code.py). The answer runs in a child process,
which says by a word that it cannot know beforehand that the last line of the tests was reached. So an answer that leaves
early with exit code 0 does not pass.
"""

import linecache
import os
import sys
import traceback
import types


def check(answer: str, tests: str) -> None:
    """Ends the process: 0 if all went through, 128 + n after signal n, else 1 with the error on the standard error."""
    reader, writer = os.pipe()
    word = os.urandom(16)
    child = os.fork()
    if not child:
        os.close(reader)
        os._exit(_tell(writer, word) if _went_through(answer, tests) else 1)
    os.close(writer)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.set_blocking(reader, False)  # a process that the answer left behind may still hold the other end
    try:
        told = os.read(reader, 64)
    except BlockingIOError:
        told = b""
    if code == 0 and told != word:
        sys.stderr.write("the answer ended the program before its tests were through\n")
        code = 1
    os._exit(code if code >= 0 else 128 - code)


def _went_through(answer: str, tests: str) -> bool:
    module = types.ModuleType("answer")
    module.__file__ = "answer.py"
    sys.modules["answer"] = module
    try:
        for name, source in (("answer.py", answer), ("tests.py", tests)):
            linecache.cache[name] = (len(source), None, source.splitlines(True), name)
            exec(compile(source, name, "exec", dont_inherit=True), module.__dict__)
    except BaseException:  # an exit is as good as an error here
        traceback.print_exc()
        return False
    finally:
        _write_out()
    return True


def _write_out() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # the answer closed or replaced it


def _tell(writer: int, word: bytes) -> int:
    os.write(writer, word)
    return 0
