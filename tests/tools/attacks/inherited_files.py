"""Writes to whatever open files it was left. Verdict: failed. Control."""

import os

for number in range(3, 64):
    try:
        os.write(number, b"written through an inherited file")
        print("ESCAPED", number)
    except OSError as error:
        last = error
raise last
