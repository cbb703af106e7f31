"""Leaves a process behind that outlives the run, and ends well. Verdict: passed."""

import json
import os
import signal
import sys
import time

given = json.load(sys.stdin)
if not os.fork():
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    for number in range(3):
        os.close(number)
    while True:
        time.sleep(0.05)
        try:
            with open(given["canary"], "w") as file:
                file.write("overwritten")
        except OSError:
            pass
