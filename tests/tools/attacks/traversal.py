"""Climbs up by .. and down to the file. Verdict: failed. Control."""

import json
import sys

with open("../" * 40 + json.load(sys.stdin)["canary"].lstrip("/")) as file:
    print("ESCAPED", file.read())
