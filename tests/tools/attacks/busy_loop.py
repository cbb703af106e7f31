"""Computes for ever, and ignores the warning that its time is over. Verdict: timeout."""

import signal

signal.signal(signal.SIGXCPU, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    pass
