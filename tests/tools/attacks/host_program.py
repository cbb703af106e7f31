"""Turns into a program of the host. Verdict: forbidden. Control."""

import os
import sys

sys.stdout.flush()
os.execv("/bin/sh", ["sh", "-c", "echo ESCAPED"])
