"""Connects to a local socket that has a name and no file. Verdict: forbidden. Control."""

import json
import socket
import sys

socket.socket(socket.AF_UNIX).connect("\0" + json.load(sys.stdin)["abstract"])
print("ESCAPED")
