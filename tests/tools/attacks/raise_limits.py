"""Gives itself more processes and memory. Verdict: failed."""

import resource

resource.setrlimit(resource.RLIMIT_NPROC, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print("ESCAPED")
