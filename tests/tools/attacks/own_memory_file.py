"""Opens its own memory as a file, which ignores write protection. Verdict: failed. Control."""

with open("/proc/self/mem", "r+b", buffering=0):
    print("ESCAPED")
