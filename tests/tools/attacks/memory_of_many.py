"""Has ten processes hold much memory, each less than its own limit. Verdict: memory."""

import os
import time

for _ in range(10):
    if not os.fork():
        break
held = []
for _ in range(10):
    held.append(b"x" * (10 << 20))
time.sleep(60)
print("ESCAPED")
