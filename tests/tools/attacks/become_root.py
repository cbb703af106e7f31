"""Becomes root. Verdict: forbidden."""

import os

os.setuid(0)
print("ESCAPED")
