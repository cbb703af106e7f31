"""Kills the process that started it, a process of the same user, and everything. Verdict: failed. Control."""

import json
import os
import signal
import sys

given = json.load(sys.stdin)
try:
    os.kill(os.getppid(), 0 if given["control"] else signal.SIGKILL)
    if not given["control"]:
        os.kill(-1, signal.SIGKILL)
except OSError:
    pass
os.kill(given["victim"], signal.SIGKILL)
print("ESCAPED")
