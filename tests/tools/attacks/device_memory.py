"""Opens the machine's memory, log and disks as files. Verdict: failed."""

for name in ("mem", "kmem", "port", "kmsg", "sda", "vda", "nvme0n1", "fuse", "kvm", "net/tun", "ptmx"):
    try:
        with open(f"/dev/{name}", "rb"):
            print("ESCAPED", name)
    except OSError as error:
        last = error
raise last
