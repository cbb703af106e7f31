"""Writes beside the system's libraries, and into the interpreter. Verdict: failed."""

import os
import sys

for path in (sys.executable, os.__file__, "/usr/lib/planted", "/planted", "/dev/planted"):
    try:
        with open(path, "ab") as file:
            file.write(b"planted")
        print("ESCAPED", path)
    except OSError as error:
        last = error
raise last
