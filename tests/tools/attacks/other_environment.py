"""Reads another process's environment, where keys are kept. Verdict: failed. Control."""

import json
import os
import sys

if "SANDBOX_SECRET" in os.environ:
    print("ESCAPED by inheritance")
with open(f"/proc/{json.load(sys.stdin)['victim']}/environ") as file:
    print("ESCAPED", file.read())
