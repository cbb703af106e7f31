"""Sends a datagram to a socket of the host. Verdict: forbidden. Control."""

import json
import socket
import sys

socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"out", ("127.0.0.1", json.load(sys.stdin)["udp"]))
print("ESCAPED")
