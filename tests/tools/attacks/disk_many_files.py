"""Fills the disk with many small files. Verdict: failed."""

total = 0
for number in range(100):
    with open(f"part{number}", "wb", buffering=0) as file:
        total += file.write(b"x" * (1 << 20))
        print(total, flush=True)
