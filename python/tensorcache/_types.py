"""register_type: storing values of additional types."""
from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Dict, NamedTuple, Optional, Type, TypeVar

from ._classes import Unreadable

T = TypeVar("T")

_BUILT_IN = (bool, bytearray, bytes, complex, dict, float, int, list, memoryview, object, str, tuple, type, type(None))
_log = logging.getLogger("tensorcache")


class _Registered(NamedTuple):
    cls: type
    name: str
    to_tree: Callable[[Any], Any]
    from_tree: Callable[[Any], Any]


_lock = threading.Lock()
_by_type: Dict[type, _Registered] = {}
_by_name: Dict[str, _Registered] = {}


def register_type(cls: Type[T], to_tree: Callable[[T], Any], from_tree: Callable[[Any], T], name: Optional[str] = None) -> None:
    """Stores values of exactly this class, in every cache of this process.

        register_type(Fraction, to_tree=lambda value: (value.numerator, value.denominator), from_tree=lambda tree: Fraction(*tree))

    to_tree: converts a value to storable data: arrays, text, numbers, lists, tuples and dicts of those.
    from_tree: rebuilds the value. Its argument comes from the cache's files: anyone who can write them controls it. If it raises an
        exception, the lookup is a miss.
    name: identifies the type in the cache; default: the class's module and qualified name. A class inside a function needs a name. Change it
        when the output of ``to_tree`` changes.

    Registering a redefined class (as in a notebook) replaces the earlier one; using the name of another class raises ValueError.
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_type requires a class; got {cls!r}")
    if cls in _BUILT_IN or cls.__module__ == "numpy":
        raise ValueError(f"{cls.__name__} cannot be registered: it is a built-in type of the cache")
    if not callable(to_tree) or not callable(from_tree):
        raise TypeError("register_type requires two functions, to_tree and from_tree")
    own = f"{cls.__module__}.{cls.__qualname__}"
    if name is None and "<" in own:
        raise ValueError(f"{own} is not a unique class name; pass register_type(..., name=...)")
    if name is not None and not (isinstance(name, str) and name):
        raise TypeError(f"name must be a non-empty str; got {name!r}")
    entry = _Registered(cls, own if name is None else name, to_tree, from_tree)
    with _lock:
        other = _by_name.get(entry.name)
        if other is not None and f"{other.cls.__module__}.{other.cls.__qualname__}" != own:
            raise ValueError(f"{entry.name!r} is already the name of {other.cls!r}; pass another name for {cls!r}: register_type(..., name=...)")
        earlier = _by_type.get(cls)
        _by_type[cls] = _by_name[entry.name] = entry   # first, because lookups take no lock
        if other is not None and other.cls is not cls:
            _by_type.pop(other.cls, None)
        if earlier is not None and earlier.name != entry.name:
            _by_name.pop(earlier.name, None)


def node(value: Any, encode: Callable[[Any], Any]) -> Optional[Dict[str, Any]]:
    """Returns the structure of a value of a registered type; None for other types."""
    entry = _by_type.get(type(value))
    return None if entry is None else {"r": entry.name, "tree": encode(entry.to_tree(value))}


def build(node: Dict[str, Any], decode: Callable[[Any], Any]) -> Any:
    """Rebuilds the value. Raises Unreadable."""
    entry = require_readable(node)
    tree = decode(node.get("tree"))
    try:
        return entry.from_tree(tree)
    except Exception as error:
        _log.warning("from_tree of %r failed, so the stored value is a miss", entry.name, exc_info=error)
        raise Unreadable(f"from_tree of {entry.name!r} failed: {error}") from error


def require_readable(node: Dict[str, Any]) -> _Registered:
    """Returns the registered type of a node. Raises Unreadable."""
    name = node["r"]
    entry = _by_name.get(name) if type(name) is str else None
    if entry is None:
        raise Unreadable(f"no type is registered as {name!r}")
    return entry
