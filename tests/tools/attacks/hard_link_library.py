"""Gives a library a second name where it could be written to. Verdict: failed."""

import os

os.link(os.__file__, "hard.py")
print("ESCAPED")
