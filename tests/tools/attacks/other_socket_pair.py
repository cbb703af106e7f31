"""Makes sockets of another family by the call that makes pairs. Verdict: forbidden."""

import socket

socket.socketpair(30, socket.SOCK_STREAM)  # AF_TIPC
print("ESCAPED")
