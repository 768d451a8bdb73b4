"""Checks of arguments: every error names its argument."""
from __future__ import annotations

import inspect
import operator
import os
from numbers import Real
from typing import Any, Callable, Mapping, NamedTuple, Optional, Sequence, Tuple, TypedDict, TypeVar, Union

from . import _core

Function = TypeVar("Function", bound=Callable[..., Any])

MOST_TAGS = 16
_LARGEST = 2**63 - 1
_HIGHEST_COST = 1e9   # seconds


class AddOptions(TypedDict, total=False):
    """The keyword arguments of ``add`` and similar methods."""

    ttl: Optional[float]   # seconds
    stale: float           # seconds
    tags: Sequence[str]
    cost: float            # seconds
    as_of: int             # a version


class Options(NamedTuple):
    """The same in the form that _core takes."""

    ttl: float = 0.0   # seconds; 0: fresh for ever
    stale: float = 0.0
    tags: Tuple[str, ...] = ()
    cost: float = 1.0
    as_of: int = 0     # 0: the time of the write


PLAIN = Options()
_SHOWN = {"ttl": ("Optional[float]", None), "stale": ("float", 0.0), "tags": ("Sequence[str]", ()), "cost": ("float", 1.0), "as_of": ("int", 0)}


def shows_options(function: Function) -> Function:
    """For ``help()`` and editors: replaces ``**options`` in the signature by the fields of AddOptions with their defaults."""
    written = inspect.signature(function)
    named = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
             for name, (annotation, default) in _SHOWN.items()]
    others = [parameter for parameter in written.parameters.values() if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    setattr(function, "__signature__", written.replace(parameters=others + named))
    return function


def seconds(value: Any, name: str, positive: bool = False) -> float:
    """Returns a number of seconds, at least 0; larger than 0 if ``positive``."""
    number = type(value) in (float, int) or isinstance(value, Real)
    if not number or not (value > 0 or value == 0 and not positive):
        wanted = f"{name} must be a number of seconds{' larger than 0' if positive else ', 0 or more'}; it is {value!r}"
        raise ValueError(wanted) if number else TypeError(wanted)
    return float(value)


def whole(value: Any, name: str, least: int = 0) -> int:
    """Returns a whole number from ``least`` to 2**63 - 1."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number; it is {value!r}") from None
    if isinstance(value, bool) or not least <= number <= _LARGEST:
        raise ValueError(f"{name} must be a whole number from {least} to 2**63 - 1; it is {value!r}")
    return number


def text(value: Any, name: str) -> str:
    """Returns a str that can be encoded in UTF-8."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str; it is {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be text that UTF-8 can hold; it is {value!r}") from None
    return value


def size(value: Any, name: str) -> int:
    """Returns a number of bytes, given as such or as text like "2GiB"."""
    if not isinstance(value, str):
        return whole(value, name)
    try:
        return _core.parse_size(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def entries(value: Any) -> int:
    """Returns cache_size as a number of entries."""
    try:
        return whole(value, "cache_size", least=1)
    except (TypeError, ValueError):
        raise ValueError(f'cache_size must be a number of entries, 1 or more, or a size like "2GiB"; it is {value!r}') from None


def limits(cache_size: Union[int, str], memory: Union[int, str, None]) -> Tuple[int, int]:
    """Returns (entries, bytes); 0 entries: no such limit."""
    if not isinstance(cache_size, str):
        return entries(cache_size), _memory_of_machine() // 2 if memory is None else size(memory, "memory")
    if memory is not None:
        raise ValueError("cache_size is already a size in bytes; leave memory out, or pass cache_size as a number of entries")
    return 0, size(cache_size, "cache_size")


def path(value: Union[str, bytes, "os.PathLike[Any]", None]) -> Optional[str]:
    """Returns the path of a directory."""
    if value is None:
        return None
    try:
        return text(os.fsdecode(value), "path")
    except TypeError:
        raise TypeError(f"path must be a str or a path; it is {value!r}") from None


def tags(value: Any) -> Tuple[str, ...]:
    """Returns up to 16 strings."""
    if isinstance(value, (str, bytes)):
        raise TypeError(f"tags must be several strings; use tags=({value!r},)")
    try:
        found = tuple(value)
    except TypeError:
        raise TypeError(f"tags must be several strings; it is {value!r}") from None
    if len(found) > MOST_TAGS:
        raise ValueError(f"tags: at most {MOST_TAGS} are allowed, got {len(found)}")
    return tuple(text(tag, "each of tags") for tag in found)


def default_ttl(value: Any) -> Optional[float]:
    """Returns a cache's default ttl."""
    return None if value is None else seconds(value, "ttl", positive=True)


def options(given: Mapping[str, Any], ttl: Optional[float]) -> Options:
    """Returns the options of a write; ``ttl`` is the default."""
    unknown = given.keys() - AddOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"unknown option {sorted(unknown)[0]!r}; there are {', '.join(AddOptions.__annotations__)}")
    if given.get("ttl") is not None:
        ttl = seconds(given["ttl"], "ttl", positive=True)
    stale = seconds(given.get("stale", 0.0), "stale")
    if stale and ttl is None:
        raise ValueError("stale= is the time a value is served after its ttl; pass ttl=, too")
    cost = min(seconds(given.get("cost", 1.0), "cost"), _HIGHEST_COST)
    return Options(ttl or 0.0, stale, tags(given.get("tags", ())), cost, whole(given.get("as_of", 0), "as_of"))


def _memory_of_machine() -> int:
    """Returns the bytes that this process may use: the machine's memory, or the limit of its cgroup."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            return min(total, int(file.read()))
    except (OSError, ValueError):   # no such group, or "max"
        return total
