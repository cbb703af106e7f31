"""Writes without end. Verdict: output."""

while True:
    print("flood " * 1000)
