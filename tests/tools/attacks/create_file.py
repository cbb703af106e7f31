"""Makes a new file in a folder where anyone may. Verdict: failed. Control."""

import json
import os
import sys

with open(os.path.join(json.load(sys.stdin)["folder"], "planted"), "w") as file:
    file.write("planted")
print("ESCAPED")
