"""Has ten processes hold maps that are shared, and so belong to none of them. Verdict: memory."""

import mmap
import os
import time

for _ in range(10):
    if not os.fork():
        break
held = mmap.mmap(-1, 100 << 20)
for place in range(0, len(held), 4096):
    held[place] = 1
time.sleep(60)
print("ESCAPED")
