"""Waits longer than it may. Verdict: timeout."""

import time

time.sleep(60)
print("ESCAPED")
