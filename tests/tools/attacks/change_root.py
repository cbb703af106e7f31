"""Changes its root folder, the first step of a known way out. Verdict: forbidden."""

import os

os.mkdir("jail")
os.chroot("jail")
print("ESCAPED")
