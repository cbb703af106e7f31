"""The first code that runs inside the sandbox: it sets the last limits and then becomes the program.

It is not imported but handed to the sandboxed interpreter as text, with these arguments: the number of the pipe on
which to say that the limits are set, the filter that forbids starting programs (in hexadecimal), and limits as
`NAME=number`. These are set here and not outside, because the kernel counts processes per user namespace, and bubblewrap
needs more than they allow. Only the standard library of the interpreter is at hand.
"""

import builtins
import ctypes
import os
import resource
import sys

PROGRAM = "/box/program.py"
SET_SECCOMP, BY_FILTER = 22, 2  # prctl(2)


class Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("lines", ctypes.c_void_p)]


def confine(ready: int, lines: bytes, limits: list[str]) -> None:
    """Closes every inherited file but the standard three, sets the limits and loads the filter; then says so."""
    os.closerange(3, ready)
    os.closerange(ready + 1, 1 << 20)
    for limit in limits:
        name, _, number = limit.partition("=")
        which, soft = getattr(resource, name), int(number)
        # The signal that says "your processor time is over" can be ignored; a second later the hard limit kills.
        hard, present = soft + (name == "RLIMIT_CPU"), resource.getrlimit(which)[1]
        if present != resource.RLIM_INFINITY:
            soft, hard = min(soft, present), min(hard, present)
        resource.setrlimit(which, (soft, hard))
    buffer = ctypes.create_string_buffer(lines, len(lines))
    program = Filter(len(lines) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(SET_SECCOMP, BY_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "the filter against starting programs was not accepted")
    os.write(ready, b"+")
    os.close(ready)


def become() -> None:
    """Runs the program as `__main__`, with none of this file's names left."""
    confine(int(sys.argv[1]), bytes.fromhex(sys.argv[2]), sys.argv[3:])
    names, kept, sys.argv[:] = globals(), {"__file__": PROGRAM, "__builtins__": builtins}, ["program.py"]
    sys.path.insert(0, "/box")
    with open(PROGRAM, "rb") as file:
        code = compile(file.read(), PROGRAM, "exec", dont_inherit=True)
    names.clear()
    names.update(kept, __name__="__main__")
    exec(code, names)


if __name__ == "__main__":
    become()
