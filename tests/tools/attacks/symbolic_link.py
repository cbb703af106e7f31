"""Writes through a symbolic link that points out. Verdict: failed. Control."""

import json
import os
import sys

os.symlink(json.load(sys.stdin)["canary"], "link")
with open("link", "r+") as file:
    file.write("overwritten")
print("ESCAPED")
