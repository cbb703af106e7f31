"""Reads a file that anyone may read. Verdict: failed. Control."""

import json
import sys

with open(json.load(sys.stdin)["canary"]) as file:
    print("ESCAPED", file.read())
