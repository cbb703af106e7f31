"""Doubles until the kernel says no. Verdict: failed."""

import os

while True:
    os.fork()
