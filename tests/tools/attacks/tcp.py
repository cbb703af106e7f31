"""Connects to a port of the host that is listening. Verdict: forbidden. Control."""

import json
import socket
import sys

socket.create_connection(("127.0.0.1", json.load(sys.stdin)["tcp"]), timeout=1).sendall(b"out")
print("ESCAPED")
