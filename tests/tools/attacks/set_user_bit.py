"""Makes a program that would run as its owner, and starts it. Verdict: forbidden."""

import os
import sys

with open(sys.executable, "rb") as source, open("root", "wb") as target:
    target.write(source.read(1 << 20))
os.chmod("root", 0o6755)
os.execv("./root", ["root"])
