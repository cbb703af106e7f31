"""Configuration: frozen records that refuse unknown keys and name the nearest known one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from solon.core.errors import ConfigError, MissingError, nearest


class Config(BaseModel):
    """Base of every stage's configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    LATER: ClassVar[frozenset[str]] = frozenset()
    """Fields that came after artifacts had been made: a dump leaves them out at their defaults, so that these keep their ids."""

    @model_serializer(mode="wrap")
    def _without_later(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        usual = lambda name: getattr(self, name) == type(self).model_fields[name].default  # noqa: E731
        return {name: value for name, value in dump(self).items() if name not in self.LATER or not usual(name)}


C = TypeVar("C", bound=Config)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping, loaded safely."""
    import yaml

    if not path.is_file():
        raise MissingError(f"there is no file {path}", fix="give the path of a YAML file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML", got=str(error).replace("\n", " ")) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is not a YAML mapping", got=type(content).__name__, expected="key: value lines")
    return content


def override(content: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Apply `sl.rank=32` style overrides; values are read as YAML."""
    import yaml

    for assignment in assignments:
        key, found, value = assignment.partition("=")
        if not found:
            raise ConfigError("an override must have the form key=value", got=assignment, fix="for example helpful.rank=32")
        *parents, last = key.split(".")
        place = content
        for parent in parents:
            inner = place.get(parent, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{parent!r} of {key!r} holds a value, not a section", got=inner)
            place[parent] = dict(inner)  # a copy: by a YAML anchor two sections may be one mapping
            place = place[parent]
        try:
            place[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"the value of {key!r} is not valid YAML", got=value, fix="put it in quotes") from error
    return content


def build(kind: type[C], content: Mapping[str, Any], where: str) -> C:
    """Validate a mapping; the error names the key, the nearest known one, and what was expected."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(kind, problem, where) for problem in error.errors()[:5])) from error


def _sentence(kind: type[BaseModel], problem: Any, where: str) -> str:
    path = [str(part) for part in problem["loc"]]
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key {name!r}; {nearest(path[-1], _known(kind, path[:-1]))}"
    if problem["type"] == "missing":
        return f"{where}: the key {name!r} is missing"
    said = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {name}: {said}\n  got:      {problem['input']!r}"


def _known(kind: Any, path: list[str]) -> list[str]:
    """Field names of the section that a path leads to."""
    for part in path:
        fields = getattr(kind, "model_fields", {})
        if part not in fields:
            break
        annotation = fields[part].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        kind = next((option for option in options if hasattr(option, "model_fields")), kind)
    return sorted(getattr(kind, "model_fields", {}))
