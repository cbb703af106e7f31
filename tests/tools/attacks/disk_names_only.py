"""Makes empty files without end; each costs the kernel memory that nobody counts. Verdict: memory."""

import os

number = 0
while True:
    os.close(os.open(f"{number}", os.O_CREAT | os.O_WRONLY))
    number += 1
