"""Makes a user namespace of its own, in which it would be root. Verdict: forbidden."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x1000_0000):
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
print("ESCAPED")
