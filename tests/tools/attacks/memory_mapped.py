"""Maps memory that belongs to no file. Verdict: memory."""

import mmap

held = mmap.mmap(-1, 1 << 30)
print("ESCAPED")
