"""Opens a raw socket, to forge packets. Verdict: forbidden."""

import socket

socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
print("ESCAPED")
