"""Makes a device file of its own for the first disk. Verdict: forbidden."""

import os
import stat

os.mknod("disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))
print("ESCAPED")
