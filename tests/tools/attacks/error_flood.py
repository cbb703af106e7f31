"""Writes to the other stream without end. Verdict: output."""

import sys

while True:
    sys.stderr.write("flood " * 1000)
