"""Dangerous values in the arguments of a tool call, by what the argument is for: shell, path, URL, SQL or code.

Patterns of known harm, weighed by nobody: one of them is enough to stop a call. They are a net under the allow-list of
`tool_calls.py` and not a stand-in for a sandbox (`solon.tools.sandbox`), which holds where a pattern does not.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

SECRETS = re.compile(
    r"(^|[/\\~])(\.ssh|\.aws|\.gnupg|\.kube|\.docker|\.netrc|\.pgpass|\.git-credentials|\.npmrc|\.pypirc|\.bash_history|\.env(\.\w+)?|"
    r"id_(rsa|dsa|ecdsa|ed25519)|authorized_keys|shadow|gshadow|sudoers|credentials(\.json)?|master\.key)([/\\]|$)|"
    r"^/(proc|sys|dev)/|^/etc/passwd|/var/run/docker\.sock",
    re.IGNORECASE,
)
SHELL: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in {
        "deletes recursively": r"\brm\b(?=[^;|&\n]*\s-\w*[rR]|[^;|&\n]*--recursive)|\bfind\b[^;|&\n]*-delete\b|\bshred\b|\brd /s|\bRemove-Item\b[^;|\n]*-Recurse",
        "writes to a device": r"\bdd\b[^;|&\n]*\bof=/dev/|\bmkfs|>\s*/dev/(sd|nvme|hd|mem)|\bwipefs\b|\bformat\s+[a-z]:",
        "runs what it downloads": r"\b(curl|wget|fetch|iwr|Invoke-WebRequest)\b[^;&\n]*\|\s*(sudo\s+)?\w*(sh|bash|zsh|python\d?|perl|ruby|node|iex)\b|\biex\b|\b(ba)?sh\s+<\(|\bsource\s+<\(",
        "opens a way in": r"/dev/(tcp|udp)/|\b(nc|ncat|netcat|socat)\b[^;|\n]*(\s-\w*[lec]\b|exec:|tcp)|\bssh\b[^;|\n]*\s-\w*R\b|\bngrok\b",
        "runs what it decodes": r"\b(base64|xxd|openssl)\b[^;&\n]*(-d|--decode|-r)\b[^;&\n]*\|\s*\w*sh\b|\beval\b",
        "raises its rights": r"(^|[;|&(]\s*)(sudo|doas|su|pkexec|runas)\b|\bchmod\b[^;|&\n]*(\b[0-7]?777\b|\+s\b|u\+s)|\bsetcap\b|\bvisudo\b|\busermod\b",
        "starts without end": r":\(\)\s*\{|\bwhile\s+(true|:)|\byes\b\s*[|>]",
        "stays for later": r"\bcrontab\b|\bsystemctl\s+(enable|start)|>>\s*\S*(\.bashrc|\.profile|\.zshrc|authorized_keys|rc\.local)|\bschtasks\b|\bat\s+now\b",
        "stops the machine": r"\b(shutdown|reboot|halt|poweroff|init\s+[06])\b|\bkill(all)?\s+-9\s+-?1\b|\biptables\s+-F\b",
        "sends files away": r"\b(curl|wget)\b[^;|&\n]*(\s-(d|F|T)\b|--(data|form|upload-file|post-file)\S*)|\b(scp|rsync|sftp|ftp)\b[^;|&\n]*@",
        "hides its traces": r"\bhistory\s+-c\b|\bunset\s+HISTFILE\b|\brm\b[^;|&\n]*(\.bash_history|/var/log)",
    }.items()
}
CHAINED = re.compile(r"[;&|`\n\r]|\$\(|\$\{|<\(|>\(|>{1,2}|<{1,2}")
"""What lets one command line hold more than one command, or read and write files by itself."""
SQL: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for name, pattern in {
        "drops or empties": r"\b(drop|truncate|alter)\s+(table|database|schema|user|view|index|role)\b|\bdelete\s+from\s+[\w.\"`\[\]]+\s*(;|$|where\s+(1\s*=\s*1|true)\b)|\bupdate\s+[\w.\"`]+\s+set\b(?!.*\bwhere\b)",
        "several statements": r";\s*\S",
        "always true": r"\b(or|and)\b\s+(['\"]?)(\w*)\2\s*=\s*\2\3\2(?!\w)|\bunion\b\s+(all\s+)?select\b|(--|#|/\*)\s*$|\bor\s+true\b",
        "leaves the database": r"\b(xp_cmdshell|load_file|into\s+(out|dump)file|copy\s+.*\b(to|from)\s+program|pg_read_file|lo_import|attach\s+database|pg_sleep|waitfor\s+delay|benchmark\s*\()",
        "changes rights": r"\b(grant|revoke|create\s+user|set\s+password)\b",
    }.items()
}
CODE: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in {
        "starts a program": r"\b(os\.(system|popen|exec\w*|spawn\w*)|subprocess\b|pty\.spawn|child_process|Runtime\.getRuntime|ProcessBuilder)\b",
        "runs text as code": r"\b(eval|exec|compile|__import__|Function)\s*\(|\bimportlib\b|\bpickle\.loads?\b|\bmarshal\.loads?\b",
        "reaches round the language": r"__(subclasses|globals|builtins|bases|mro|code)__|\bctypes\b|\bsys\._getframe\b",
        "deletes files": r"\b(shutil\.rmtree|os\.(remove|unlink|rmdir|removedirs)|fs\.(rm|unlink|rmdir)(Sync)?)\b",
        "opens the network": r"\b(socket\.(socket|create_connection)|requests\.(get|post|put)|urllib\.request|http\.client|paramiko|telnetlib|ftplib|smtplib)\b",
    }.items()
}
SCHEMES = frozenset({"http", "https"})
LOCAL = re.compile(r"(^|\.)(localhost|local|internal|intranet|lan|home|corp|localdomain|metadata)\.?$", re.IGNORECASE)


def shell(value: str, programs: Sequence[str] = ()) -> list[str]:
    """The rules that a command line breaks. With `programs`, only these may be called, and only one at a time."""
    broken = [name for name, pattern in SHELL.items() if pattern.search(value)]
    if any(SECRETS.search(word.strip("'\"")) for word in re.split(r"[\s=:;|&<>()]+", value)):
        broken.append("names a secret file")
    if programs:
        words = value.split()
        if not words or words[0] not in programs:
            broken.append("program not on the allow-list")
        if CHAINED.search(value):
            broken.append("more than one command")
    return broken


def path(value: str, roots: Sequence[str] = ()) -> list[str]:
    """The rules that a file name breaks. Names are taken as POSIX paths after undoing up to three percent-encodings;
    with `roots`, the name must lie inside one of them. Links are not followed: that is for whoever opens the file."""
    name = value
    for _ in range(3):
        name = unquote(name)
    slashes = name.replace("\\", "/")
    broken = []
    if any(ord(c) < 32 or ord(c) == 127 for c in name):
        broken.append("control characters")
    if ".." in slashes.split("/"):
        broken.append("leaves its folder")
    if SECRETS.search(slashes) or SECRETS.search(posixpath.normpath(slashes)):
        broken.append("names a secret file")
    if slashes.startswith(("~", "//")) or re.match(r"[A-Za-z]:", slashes) or re.match(r"[a-z][a-z0-9+.-]*:", slashes, re.IGNORECASE):
        broken.append("another volume, home or host")
    absolute = slashes.startswith("/")
    if roots:
        whole = posixpath.normpath(slashes if absolute else posixpath.join(roots[0], slashes))
        tops = [posixpath.normpath(root) for root in roots]
        if not any(whole == top or whole.startswith(top.rstrip("/") + "/") for top in tops):
            broken.append("outside the allowed folders")
    elif absolute:
        broken.append("absolute")
    return broken


def url(value: str, hosts: Sequence[str] = ()) -> list[str]:
    """The rules that an address breaks. With `hosts`, only these may be reached (`*.example.org` for what lies below);
    without, any public name. Names are not looked up: one that resolves to a private address is for the one who connects
    to refuse."""
    text = value.strip()
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").rstrip(".").lower()
        port = parts.port
    except ValueError:
        return ["no address"]
    broken = []
    if parts.scheme.lower() not in SCHEMES:
        broken.append("scheme not allowed")
    if any(ord(c) <= 32 for c in text) or "\\" in text:
        broken.append("control characters")
    if parts.username or parts.password or "@" in parts.netloc:
        broken.append("carries a name or password")
    if not host or _private(host):
        broken.append("private or local host")
    if port not in (None, 80, 443):
        broken.append("unusual port")
    if hosts and not any(_matches(host, one.lower()) for one in hosts):
        broken.append("host not on the allow-list")
    return broken


def _matches(host: str, allowed: str) -> bool:
    return host.endswith(allowed[1:]) and len(host) > len(allowed) - 1 if allowed.startswith("*.") else host == allowed


def _private(host: str) -> bool:
    """Whether a host is an address that is not public, in any of the spellings that programs take, or a local name."""
    if LOCAL.search(host):
        return True
    try:
        address = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        numbers = _dotted(host)
        if numbers is None:
            return "." not in host  # a bare name is one of the local network
        address = ipaddress.ip_address(numbers)
    mapped = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    return not address.is_global or address.is_multicast or (mapped is not None and not mapped.is_global)


def _dotted(host: str) -> int | None:
    """The IPv4 address that `inet_aton` would read: one to four parts, decimal, octal or hexadecimal."""
    parts = host.split(".")
    if not 1 <= len(parts) <= 4 or not all(re.fullmatch(r"0x[0-9a-f]*|\d+", part) for part in parts):
        return None
    try:
        numbers = [int(p[2:] or "0", 16) if p.startswith("0x") else int(p, 8) if p[0] == "0" and len(p) > 1 else int(p) for p in parts]
    except ValueError:  # 08, say
        return None
    *high, low = numbers
    if any(n > 255 for n in high) or low >= 256 ** (5 - len(numbers)):
        return None
    return sum(n << 8 * (3 - i) for i, n in enumerate(high)) + low


def sql(value: str) -> list[str]:
    """The rules that a database statement breaks. One that only reads, alone, breaks none."""
    return [name for name, pattern in SQL.items() if pattern.search(value.strip().rstrip(";"))]


def code(value: str) -> list[str]:
    """The rules that a program text breaks."""
    return [name for name, pattern in CODE.items() if pattern.search(value)]
