"""Writes to the kernel's emergency trigger and to its settings. Verdict: failed."""

for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/sys/kernel/uevent_helper"):
    try:
        with open(path, "w"):
            print("ESCAPED", path)
    except OSError as error:
        last = error
raise last
