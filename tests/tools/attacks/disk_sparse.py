"""Makes a file of a terabyte with nothing in it. Verdict: failed."""

with open("sparse", "wb") as file:
    file.truncate(1 << 40)
    file.seek(1 << 39)
    file.write(b"x")
print("ESCAPED")
