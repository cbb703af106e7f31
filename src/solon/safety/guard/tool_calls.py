"""Tool calls: may this tool be called, with these arguments, and is there nothing dangerous or injected in them?

What is not allowed is refused. A tool is declared as models are told of it (a JSON schema), plus what its arguments are for
(`x-kind`: text, shell, path, url, sql or code) and what they may reach (`x-programs`, `x-roots`, `x-hosts`). No name that a
model made up reaches a ruling: a finding names declared arguments only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solon.core.errors import ConfigError, DataError, nearest
from solon.safety.guard import arguments, injection
from solon.safety.guard.rulings import Finding

KINDS = ("text", "shell", "path", "url", "sql", "code")
GUESSES = {
    "shell": r"(^|_)(command|cmd|shell|bash|command_line)$", "path": r"(^|_)(path|file|filename|filepath|directory|folder|dir)$",
    "url": r"(^|_)(url|uri|link|endpoint|webhook)$", "sql": r"(^|_)(sql|sql_query)$", "code": r"(^|_)(code|script|source)$",
}  # fmt: skip
"""What an argument without `x-kind` is taken for, by its name: a guess errs on the side of looking closer."""
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "float": (int, float), "boolean": (bool,), "array": (list, tuple),
    "tuple": (list, tuple), "object": (dict,), "dict": (dict,), "null": (type(None),),
}  # fmt: skip
DEEPEST, LONGEST = 8, 20_000
INJECTED = 0.6
"""From this score of the injection check on, a text argument stops the call."""


@dataclass(frozen=True)
class Tool:
    """A tool that may be called: its name and the JSON schema of its arguments."""

    name: str
    schema: Mapping[str, Any]


def allow_list(specs: Sequence[Mapping[str, Any]]) -> dict[str, Tool]:
    """Tools by name from their declarations: `{"name", "parameters"}`, bare or under `function`.

    Raises `ConfigError` for a declaration that could not be checked later: an unknown type or kind, or a bad pattern."""
    out: dict[str, Tool] = {}
    for spec in specs:
        inner = spec.get("function", spec)
        name = inner.get("name") if isinstance(inner, Mapping) else None
        if not isinstance(name, str) or not name:
            raise ConfigError("a tool has no name", expected='{"name": ..., "parameters": {...}}')
        schema = inner.get("parameters") or {"type": "object", "properties": {}}
        _checked(schema, f"tool {name!r}")
        if name in out:
            raise ConfigError(f"the tool {name!r} is declared twice")
        out[name] = Tool(name, schema)
    return out


def _checked(schema: Any, where: str, depth: int = 0) -> None:
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        raise ConfigError(f"{where}: no schema, or one nested more than {DEEPEST} deep")
    for one in _types(schema):
        if one not in TYPES and one != "any":
            raise ConfigError(f"{where}: unknown type", got=one, fix=nearest(str(one), [*TYPES, "any"]))
    if schema.get("x-kind", "text") not in KINDS:
        raise ConfigError(f"{where}: unknown x-kind", got=schema["x-kind"], fix=nearest(str(schema["x-kind"]), KINDS))
    if "pattern" in schema:
        try:
            re.compile(schema["pattern"])
        except (re.error, TypeError) as error:
            raise ConfigError(f"{where}: the pattern is not valid", got=error) from error
    properties = schema.get("properties", {})
    lost = set(schema.get("required", ())) - set(properties)
    if lost:
        raise ConfigError(f"{where}: a required argument is not declared", got=sorted(lost))
    for name, inner in properties.items():
        _checked(inner, f"{where}, {name}", depth + 1)
    if isinstance(schema.get("items"), Mapping):
        _checked(schema["items"], f"{where}, items", depth + 1)


def _types(schema: Mapping[str, Any]) -> tuple[str, ...]:
    kind = schema.get("type", "object" if "properties" in schema else "any")
    return tuple(kind) if isinstance(kind, list | tuple) else (kind,)


def check(tools: Mapping[str, Tool], name: Any, given: Any) -> tuple[Finding, ...]:
    """Everything that speaks against a call; empty where nothing does. Raises nothing for whatever a model wrote."""
    tool = tools.get(name) if isinstance(name, str) else None
    if tool is None:
        return (Finding("tool not on the allow-list", "name", 1.0),)
    return tuple(dict.fromkeys(_value(given, {"type": "object", **tool.schema}, "arguments", "", 0)))


def _value(value: Any, schema: Mapping[str, Any], where: str, name: str, depth: int) -> Iterator[Finding]:
    if depth > DEEPEST:
        yield Finding("nested too deeply", where, 1.0)
        return
    if not _fits(value, _types(schema)):
        yield Finding("wrong type", where, 1.0)
        return
    if "enum" in schema and value not in schema["enum"]:
        yield Finding("not one of the allowed values", where, 1.0)
    if isinstance(value, str):
        yield from (Finding(rule, where, weight) for rule, weight in _text(value, schema, name))
    elif isinstance(value, list | tuple):
        inner = schema["items"] if isinstance(schema.get("items"), Mapping) else {}
        for one in value:
            yield from _value(one, inner, f"{where}[]", name, depth + 1)
    elif isinstance(value, Mapping):
        yield from _fields(value, schema, where, depth)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        if (isinstance(value, float) and not math.isfinite(value)) or not low <= value <= high:
            yield Finding("out of range", where, 1.0)


def _fits(value: Any, wanted: tuple[str, ...]) -> bool:
    if "any" in wanted:
        return isinstance(value, str | int | float | list | tuple | dict | None)
    kinds = tuple(kind for one in wanted for kind in TYPES[one])
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)


def _fields(value: Mapping[Any, Any], schema: Mapping[str, Any], where: str, depth: int) -> Iterator[Finding]:
    properties = schema.get("properties")
    if any(name not in value for name in schema.get("required", ())):
        yield Finding("a required argument is missing", where, 1.0)
    for name, inner in value.items():
        if properties is not None and name in properties:
            yield from _value(inner, properties[name], f"{where}.{name}", name, depth + 1)
        elif properties is None and schema.get("additionalProperties", True) is not False and isinstance(name, str):
            # An object declared without fields, or a value of type any: whatever is in it is looked at as text.
            yield from _value(inner, {}, f"{where}.*", name, depth + 1)
        else:
            yield Finding("an argument that is not declared", where, 1.0)


def _text(value: str, schema: Mapping[str, Any], name: str) -> Iterator[tuple[str, float]]:
    """What is wrong with a string, by its schema and by what it is for."""
    if len(value) > min(schema.get("maxLength", LONGEST), LONGEST):
        yield "too long", 1.0
        return
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield "does not have the declared form", 1.0
    if "\x00" in value:
        yield "control characters", 1.0
    match schema.get("x-kind") or _guess(name):
        case "shell":
            yield from ((f"shell: {one}", 1.0) for one in arguments.shell(value, schema.get("x-programs", ())))
        case "path":
            yield from ((f"path: {one}", 1.0) for one in arguments.path(value, schema.get("x-roots", ())))
        case "url":
            yield from ((f"url: {one}", 1.0) for one in arguments.url(value, schema.get("x-hosts", ())))
        case "sql":
            yield from ((f"sql: {one}", 1.0) for one in arguments.sql(value))
        case "code":
            yield from ((f"code: {one}", 1.0) for one in arguments.code(value))
    try:
        found = injection.findings(value)
    except DataError:
        yield "more in disguise than is looked at", 1.0
        return
    if injection.score(found) >= INJECTED:
        yield from ((f"injected: {one.rule}", one.weight) for one in found)


def _guess(name: str) -> str:
    return next((kind for kind, pattern in GUESSES.items() if re.search(pattern, name, re.IGNORECASE)), "text")
