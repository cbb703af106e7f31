"""Lists a home folder. Verdict: failed. Control."""

import json
import os
import sys

print("ESCAPED", os.listdir(json.load(sys.stdin)["folder"]))
