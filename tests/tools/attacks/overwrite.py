"""Writes to a file that anyone may write. Verdict: failed. Control."""

import json
import sys

with open(json.load(sys.stdin)["canary"], "r+") as file:
    file.write("overwritten")
print("ESCAPED")
