"""Asks for more and more memory. Verdict: memory."""

held = []
while True:
    held.append(bytearray(16 << 20))
    if len(held) > 64:
        print("ESCAPED", flush=True)
