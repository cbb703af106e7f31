"""Makes a file in memory, which no process's limit counts. Verdict: forbidden. Control."""

import os

held = os.memfd_create("held")
os.write(held, b"x" * 4096)
print("ESCAPED")
