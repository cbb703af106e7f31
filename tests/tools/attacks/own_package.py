"""Changes the code of the sandbox itself. Verdict: failed. Control."""

import json
import sys

with open(json.load(sys.stdin)["package"], "a") as file:
    file.write("\n# planted\n")
print("ESCAPED")
