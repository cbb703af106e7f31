"""Which system calls a sandboxed program may make: a filter in classic BPF, assembled here.

The kernel runs the filter on every call (seccomp(2)). There are three ways to say no. `KILL` ends the process, for
calls that no ordinary program makes and that have opened kernels before. `REFUSE` answers EPERM, which Python shows as
`PermissionError: [Errno 1]`, for calls that a program might make in good faith. `ABSENT` answers ENOSYS, so that
libraries take the older call whose arguments a filter can read: `clone3` hides its flags behind a pointer.

Numbers are from the kernel's own tables (`asm/unistd_64.h`, `asm-generic/unistd.h`); from 424 on machines share them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from solon.core.errors import ConfigError

KILL, REFUSE, ABSENT, ALLOW = 0x8000_0000, 0x0005_0001, 0x0005_0026, 0x7FFF_0000
MACHINES = {"x86_64": (0, 0xC000_003E), "aarch64": (1, 0xC000_00B7)}  # column of the tables below, AUDIT_ARCH_*
NEWEST = 450  # calls that came later are unknown here, so they are absent
OTHER_ABI = 0x4000_0000  # x86_64 marks the calls of its second ABI (x32) so

LOAD, EQUAL, GREATER, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
NUMBER_AT, MACHINE_AT = 0, 4  # offsets in struct seccomp_data

NAMESPACES = 0x7E02_0000  # every CLONE_NEW* flag that clone knows
TYPE_INTO_TERMINAL, LINUX_CONSOLE = 0x5412, 0x541C  # TIOCSTI, TIOCLINUX
LOCAL_SOCKETS = 1  # AF_UNIX
ASK_PERSONALITY = 0xFFFF_FFFF

Table = dict[str, tuple[int | None, int | None]]

KILLED: Table = {
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "move_pages": (279, 239), "migrate_pages": (256, 238),
    # mounts
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "open_tree": (428, 428), "fsopen": (430, 430),
    "move_mount": (429, 429), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262), "uselib": (134, None), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    # large and often attacked parts of the kernel
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "lookup_dcookie": (212, 18), "nfsservctl": (180, 42),
    # the machine
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "syslog": (103, 116), "vhangup": (153, 58),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
}  # fmt: skip

REFUSED: Table = {
    "socket": (41, 198), "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268),
    "sethostname": (170, 161), "setdomainname": (171, 162), "capset": (126, 91),
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143), "setresuid": (117, 147),
    "setresgid": (119, 149), "setfsuid": (122, 151), "setfsgid": (123, 152), "setgroups": (116, 159),
    # memory that belongs to no process, so that no limit counts it
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
}  # fmt: skip

MISSING: Table = {"clone3": (435, 435)}
STARTING: Table = {"execve": (59, 221), "execveat": (322, 281)}


@dataclass(frozen=True)
class Condition:
    """One argument decides: `answer` if it passes `test` against one of `values`, or, with `spared`, if it does not.

    The filter reads the lower 32 bits, which are all that the kernel reads of these arguments.
    """

    numbers: tuple[int | None, int | None]
    argument: int
    test: int
    values: tuple[int, ...]
    answer: int
    spared: bool = False


CONDITIONS = {
    "clone": Condition((56, 220), 0, ANY_BIT, (NAMESPACES,), KILL),
    "ioctl": Condition((16, 29), 1, EQUAL, (TYPE_INTO_TERMINAL, LINUX_CONSOLE), KILL),
    "personality": Condition((135, 92), 0, EQUAL, (ASK_PERSONALITY,), KILL, spared=True),
    "socketpair": Condition((53, 199), 0, EQUAL, (LOCAL_SOCKETS,), REFUSE, spared=True),
}


def calls(machine: str) -> bytes:
    """The filter that bubblewrap loads: everything above but `STARTING`, as an array of struct sock_filter."""
    column, code = _known(machine)
    lines = _beginning(code)
    lines += [_line(AT_LEAST, OTHER_ABI, 0, 1), _line(RETURN, KILL)]
    lines += [_line(GREATER, NEWEST, 0, 1), _line(RETURN, ABSENT)]
    for table, answer in ((KILLED, KILL), (REFUSED, REFUSE), (MISSING, ABSENT)):
        lines += _answers(table, answer, column)
    for condition in CONDITIONS.values():
        lines += _condition(condition, column)
    return b"".join([*lines, _line(RETURN, ALLOW)])


def no_starting(machine: str) -> bytes:
    """The filter that the sandbox adds once Python runs: from then on nobody starts another program."""
    column, code = _known(machine)
    return b"".join([*_beginning(code), *_answers(STARTING, REFUSE, column), _line(RETURN, ALLOW)])


def _known(machine: str) -> tuple[int, int]:
    if machine not in MACHINES:
        raise ConfigError("the sandbox does not know this processor's calls", got=machine, expected=", ".join(MACHINES))
    return MACHINES[machine]


def _line(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """One struct sock_filter: code, lines to skip when the test holds and when it does not, operand."""
    return struct.pack("<HBBI", code, yes, no, value)


def _beginning(machine_code: int) -> list[bytes]:
    """Kills calls made the way of another machine (32-bit code has other numbers), then loads the number."""
    kill = _line(RETURN, KILL)
    return [_line(LOAD, MACHINE_AT), _line(EQUAL, machine_code, 1, 0), kill, _line(LOAD, NUMBER_AT)]


def _answers(table: Table, answer: int, column: int) -> list[bytes]:
    numbers = (pair[column] for pair in table.values())
    return [line for n in numbers if n is not None for line in (_line(EQUAL, n, 0, 1), _line(RETURN, answer))]


def _condition(rule: Condition, column: int) -> list[bytes]:
    number = rule.numbers[column]
    if number is None:
        return []
    hit, otherwise = (ALLOW, rule.answer) if rule.spared else (rule.answer, ALLOW)
    body = [_line(LOAD, 16 + 8 * rule.argument)]
    for value in rule.values:
        body += [_line(rule.test, value, 0, 1), _line(RETURN, hit)]
    body.append(_line(RETURN, otherwise))
    return [_line(EQUAL, number, 0, len(body)), *body]
