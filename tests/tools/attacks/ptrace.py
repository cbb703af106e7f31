"""Attaches to another process as a debugger. Verdict: forbidden."""

import ctypes
import json
import sys

if ctypes.CDLL(None).ptrace(16, json.load(sys.stdin)["victim"], None, None) == 0:
    print("ESCAPED")
