"""Writes to what it should only read. Verdict: forbidden."""

import os

os.lseek(0, 0, os.SEEK_SET)
os.write(0, b"changed")
print("ESCAPED")
