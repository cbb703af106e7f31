"""Asks for more memory than there may be, in one piece. Verdict: memory."""

held = b"x" * (1 << 40)
print("ESCAPED")
