"""Starts a program of the host and reads what it says. Verdict: forbidden. Control."""

import subprocess

print(subprocess.run(["/bin/echo", "ESCAPED"], capture_output=True, text=True, check=True).stdout)
