"""Starts threads until there are no more. Verdict: failed."""

import threading
import time

started = 0
while True:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    started += 1
    print(started, flush=True)
    if started > 64:
        print("ESCAPED", flush=True)
