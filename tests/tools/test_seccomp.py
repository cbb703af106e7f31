"""The filter against the kernel's own tables, and its decisions by a small machine for classic BPF written for it."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from solon.core.errors import ConfigError
from solon.tools import seccomp
from solon.tools.seccomp import ABSENT, ALLOW, KILL, REFUSE, calls, no_starting

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
AUDIT = {"x86_64": 62 | 0xC000_0000, "aarch64": 183 | 0xC000_0000}  # EM_X86_64, EM_AARCH64 with __AUDIT_ARCH_64BIT|LE
TABLES = (seccomp.KILLED, seccomp.REFUSED, seccomp.MISSING, seccomp.STARTING)


def answer(program: bytes, number: int, arguments: tuple[int, ...] = (), machine: int = AUDIT["x86_64"]) -> int:
    """What a filter returns for one call, by Linux's filter.rst and struct seccomp_data."""
    values = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number, machine, 0, *(value & (1 << 64) - 1 for value in values))
    lines = list(struct.iter_unpack("<HBBI", program))
    place, accumulator = 0, 0
    while True:
        code, yes, no, operand = lines[place]
        place += 1
        if code == 0x06:  # BPF_RET | BPF_K
            return operand
        if code == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            assert operand % 4 == 0 and operand < len(data)
            accumulator = struct.unpack_from("<I", data, operand)[0]
            continue
        tests = {0x15: accumulator == operand, 0x25: accumulator > operand, 0x35: accumulator >= operand}
        tests[0x45] = bool(accumulator & operand)
        place += yes if tests[code] else no


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_the_kernels(machine: str):
    if not HEADERS[machine].exists():
        pytest.skip(f"no kernel headers for {machine} (package linux-libc-dev)")
    text = HEADERS[machine].read_text()
    true = {name: int(n) for name, n in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
    column = seccomp.MACHINES[machine][0]
    ours = {name: pair[column] for table in TABLES for name, pair in table.items()}
    ours |= {name: rule.numbers[column] for name, rule in seccomp.CONDITIONS.items()}
    assert {name: true.get(name) for name in ours} == ours


@pytest.mark.parametrize("machine", HEADERS)
def test_every_call_gets_its_answer(machine: str):
    column, program = seccomp.MACHINES[machine][0], calls(machine)
    expected = dict.fromkeys(range(seccomp.NEWEST + 1), ALLOW) | dict.fromkeys((seccomp.NEWEST + 1, 1000), ABSENT)
    for table, what in ((seccomp.KILLED, KILL), (seccomp.REFUSED, REFUSE), (seccomp.MISSING, ABSENT)):
        expected |= {pair[column]: what for pair in table.values() if pair[column] is not None}
    for rule in seccomp.CONDITIONS.values():
        expected[rule.numbers[column]] = rule.answer if rule.spared else ALLOW
    got = {number: answer(program, number, machine=AUDIT[machine]) for number in expected}
    assert got == expected


@pytest.mark.parametrize("machine", HEADERS)
def test_arguments_decide(machine: str):
    column, program = seccomp.MACHINES[machine][0], calls(machine)

    def of(call: str, *arguments: int) -> int:
        return answer(program, seccomp.CONDITIONS[call].numbers[column], arguments, AUDIT[machine])

    threads = 0x0001_0000 | 0x100 | 0x200 | 0x400 | 0x800 | 0x40000  # THREAD, VM, FS, FILES, SIGHAND, SYSVSEM
    assert of("clone", threads) == of("clone", 17) == ALLOW
    for flag in (0x20000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000):
        assert of("clone", flag | 17) == KILL
    assert of("ioctl", 0, 0x5401) == ALLOW
    # The kernel reads 32 bits of a command, so what stands above them must not hide one.
    assert of("ioctl", 0, 0x5412) == of("ioctl", 0, 0x5412 | 1 << 40) == of("ioctl", 0, 0x541C) == KILL
    assert of("personality", 0xFFFF_FFFF) == ALLOW and of("personality", 0) == of("personality", 0x40000) == KILL
    assert of("socketpair", 1, 1, 0) == ALLOW and of("socketpair", 2, 1, 0) == REFUSE


@pytest.mark.parametrize("machine", HEADERS)
def test_calls_in_another_machines_way_are_killed(machine: str):
    for program in (calls(machine), no_starting(machine)):
        assert answer(program, 0, machine=AUDIT[machine]) == ALLOW
        assert answer(program, 0, machine=0x4000_0003) == KILL  # AUDIT_ARCH_I386
    assert answer(calls("x86_64"), 0x4000_0000) == answer(calls("x86_64"), 0xFFFF_FFFF) == KILL


@pytest.mark.parametrize("machine", HEADERS)
def test_the_second_filter_forbids_only_starting(machine: str):
    column, program = seccomp.MACHINES[machine][0], no_starting(machine)
    starting = {pair[column] for pair in seccomp.STARTING.values()}
    refused = {n for n in range(500) if answer(program, n, machine=AUDIT[machine]) == REFUSE}
    assert refused == starting
    assert all(answer(calls(machine), n, machine=AUDIT[machine]) == ALLOW for n in starting)


def test_an_unknown_processor_is_said():
    with pytest.raises(ConfigError, match="riscv64"):
        calls("riscv64")
