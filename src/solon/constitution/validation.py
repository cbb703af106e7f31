"""Values from a user's file or option to a frozen record, or an error that names the place, the field and the nearest key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from solon.core.errors import SolonError, nearest


class Record(BaseModel):
    """A record that does not change and has no fields but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


R = TypeVar("R", bound=BaseModel)


def checked(record: type[R], values: Any, where: str, error: type[SolonError]) -> R:
    """`values` as a record; `where` begins the message, as in `core.yaml, principle 'harm.general'`."""
    if not isinstance(values, Mapping):
        raise error(f"{where}: not a set of fields", got=repr(values)[:80], expected=", ".join(record.model_fields))
    try:
        return record.model_validate(dict(values))
    except ValidationError as found:
        first = found.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    field = ".".join(path)
    if first["type"] == "extra_forbidden":
        raise error(f"{where}: unknown field {field!r}", fix=nearest(path[-1], _fields(record, first["loc"][:-1])))
    if first["type"] == "missing":
        raise error(f"{where}: the field {field!r} is missing", fix=_hint(path[-1], values, record))
    said = str(first["msg"]).removeprefix("Value error, ")
    hint = (
        nearest(first["input"], first["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", "))
        if (first["type"] == "literal_error" and isinstance(first["input"], str))
        else ""
    )
    raise error(f"{where}: the field {field!r} cannot be used", got=repr(first["input"])[:80], expected=said, fix=hint)


def _fields(record: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The fields known at a place inside a record: `("examples", 0)` leads to those of an example."""
    for part in path:
        if isinstance(part, int):
            continue
        kind: Any = record.model_fields[part].annotation
        record = next(k for k in (kind, *get_args(kind)) if isinstance(k, type) and issubclass(k, BaseModel))
    return list(record.model_fields)


def _hint(field: str, values: Mapping[str, Any], record: type[BaseModel]) -> str:
    """A missing field is often a misspelt one."""
    strange = [str(key) for key in values if key not in record.model_fields]
    found = nearest(field, strange) if strange else ""
    return f"{found.removesuffix('?')} meant as {field!r}?" if found.startswith("did you") else "add the field"
