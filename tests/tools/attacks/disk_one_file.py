"""Fills the disk with one file. Verdict: failed."""

import os

with open("large", "wb", buffering=0) as file:
    while True:
        file.write(b"x" * (1 << 20))
        print(os.path.getsize("large"), flush=True)
