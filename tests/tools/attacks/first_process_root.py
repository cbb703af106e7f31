"""Walks out by the link to the first process's root folder. Verdict: failed. Control."""

import os

print("ESCAPED", os.listdir("/proc/self/root/etc"))
