"""Gives a file outside a second name inside, and writes to it. Verdict: failed. Control."""

import json
import os
import sys

os.link(json.load(sys.stdin)["canary"], "hard")
with open("hard", "r+") as file:
    file.write("overwritten")
print("ESCAPED")
