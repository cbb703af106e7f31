"""Reads the password hashes. Verdict: failed."""

with open("/etc/shadow") as file:
    print("ESCAPED", file.read(50))
