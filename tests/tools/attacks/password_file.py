"""Reads the list of users. Verdict: failed. Control."""

with open("/etc/passwd") as file:
    print("ESCAPED", file.read(50))
