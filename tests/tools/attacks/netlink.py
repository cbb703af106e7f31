"""Opens the kernel's routing socket. Verdict: forbidden. Control."""

import socket

socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).bind((0, 0))
print("ESCAPED")
