"""Waits longer than it may, with its output closed. Verdict: timeout."""

import os
import time

os.close(1)
os.close(2)
time.sleep(60)
