"""Joins groups, those that may read disks for instance. Verdict: forbidden."""

import os

os.setgroups([0, 6])
print("ESCAPED")
