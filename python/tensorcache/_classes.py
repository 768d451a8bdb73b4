"""Dataclasses and named tuples as values: stored by their fields, and rebuilt without running any of their code.

A stored value identifies its class by module and qualified name. It is rebuilt only if a loaded module has a class of that name with the same
fields: nothing is imported, and neither ``__init__`` nor ``__new__``, ``__post_init__`` or a setter is called. Otherwise the lookup is a miss.
"""
from __future__ import annotations

import dataclasses
import functools
import sys
import types
from collections import OrderedDict
from enum import Enum
from typing import Any, Callable, Dict, List, Optional

_UNSET = object()
_NOT_STATE = ("__orig_class__",)   # set by typing on an instance of Box[int]


class Unreadable(LookupError):
    """The class of the stored value is not loaded, or has different fields: a miss."""


def find(module: str, qualname: str) -> Optional[type]:
    """Returns the class of this name in a loaded module, without running code."""
    holder = sys.modules.get(module)
    if not isinstance(holder, types.ModuleType):
        return None
    found: Any = holder
    for name in qualname.split("."):
        if not isinstance(found, (types.ModuleType, type)):
            return None
        found = vars(found).get(name)
    return found if isinstance(found, type) and (found.__module__, found.__qualname__) == (module, qualname) else None


def node(value: Any, encode: Callable[[Any], Any], key: Callable[[Any], Any]) -> Optional[Dict[str, Any]]:
    """Returns the structure of a dataclass instance or a named tuple; None for others. Raises TypeError if it could not be rebuilt."""
    cls = type(value)
    kind = _kind(cls)
    if kind is None:
        return None
    reason = _obstacle(cls)
    if reason:
        raise _refusal(cls, reason)
    name = [cls.__module__, cls.__qualname__]
    if kind != "dataclass":
        names = _names(cls, kind)
        if tuple.__len__(value) != len(names) or _other_state(value, names):
            raise _refusal(cls, "it contains more than its fields")
        return {"c": name, kind: names, "values": [encode(item) for item in tuple.__iter__(value)]}
    fields = _field_names(cls)
    own = {field: _attribute(value, field) for field in fields}
    more = _other_state(value, fields)
    made: Dict[str, Any] = {"c": name, kind: [[field] if item is _UNSET else [field, encode(item)] for field, item in own.items()]}
    if more:
        made["more"] = [[attribute, encode(item)] for attribute, item in more.items()]
    mapping = _mapping(cls)
    if mapping is not object:
        own.update(more)   # most items of a ModelOutput are its attributes as well: stored once
        made["items"] = [[key(k)] if type(k) is str and own.get(k, _UNSET) is item else [key(k), encode(item)] for k, item in list(mapping.items(value))]
    return made


def build(node: Dict[str, Any], decode: Callable[[Any], Any], key: Callable[[Any], Any]) -> Any:
    """Rebuilds the instance. Raises Unreadable."""
    cls = require_readable(node)
    kind = _kind(cls)
    if kind != "dataclass":
        values = [decode(item) for item in node["values"]]
        return tuple.__new__(cls, values) if kind == "tuple" else cls(values)   # the second runs a C constructor only
    made = _new(cls)
    own: Dict[str, Any] = {}
    for name, *item in [*node["dataclass"], *node.get("more", ())]:
        if item:
            own[name] = decode(item[0])
            _set(made, name, own[name])
    mapping = _mapping(cls)
    if mapping is not object:
        for stored_key, *item in node.get("items", ()):
            mapping.__setitem__(made, key(stored_key), decode(item[0]) if item else own[stored_key])
    return made


def require_readable(node: Dict[str, Any]) -> type:
    """Returns a node's class, checking its own fields, not nested ones. Raises Unreadable."""
    try:
        module, qualname = node["c"]
        cls = find(module, qualname)
        if cls is None:
            raise Unreadable(f"there is no class {qualname} in a loaded module {module}")
        kind = _kind(cls)
        if kind is None or kind not in node or _obstacle(cls):
            raise Unreadable(f"{module}.{qualname} is of another kind now")
        stored: List[Any] = node[kind]
        if kind != "dataclass":
            fits = stored == _names(cls, kind) and len(node["values"]) == len(stored)
        else:
            items = node.get("items", ())
            attributes = {name for name, *item in [*stored, *node.get("more", ())] if item}
            fits = ([name for name, *_ in stored] == _field_names(cls) and all(_may_be_set(cls, name) for name in attributes)
                    and (not items or _mapping(cls) is not object)
                    and all(len(item) == 2 or len(item) == 1 and type(item[0]) is str and item[0] in attributes for item in items))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"a class is described wrongly: {error}") from None
    if not fits:
        raise Unreadable(f"{module}.{qualname} has other fields now")
    return cls


# Properties of classes.

def _kind(cls: type) -> Optional[str]:
    if issubclass(cls, Enum):
        return None
    if issubclass(cls, tuple):
        names = _in_class(cls, "_fields")
        if isinstance(names, tuple) and all(type(name) is str for name in names):
            return "tuple"
        counts = [_in_class(cls, name) for name in ("n_fields", "n_sequence_fields", "n_unnamed_fields")]
        of_c = isinstance(vars(cls).get("__new__"), types.BuiltinFunctionType) and "__init__" not in vars(cls)
        return "sequence" if of_c and type(counts[0]) is int and counts[0] == counts[1] and counts[2] == 0 else None   # as of torch.topk
    return "dataclass" if type(_in_class(cls, "__dataclass_fields__")) is dict else None


def _names(cls: Any, kind: str) -> List[str]:
    if kind == "tuple":
        return list(cls._fields)
    return [name for name, attribute in vars(cls).items() if isinstance(attribute, types.MemberDescriptorType)]


def _field_names(cls: Any) -> List[str]:
    return [field.name for field in dataclasses.fields(cls)]


def _mapping(cls: type) -> Any:
    """Returns the built-in base of its instances' contents."""
    return OrderedDict if issubclass(cls, OrderedDict) else dict if issubclass(cls, dict) else object


def _new(cls: type) -> Any:
    return _mapping(cls).__new__(cls)


def _obstacle(cls: type) -> str:
    """Returns why an instance cannot be rebuilt from its fields; "" if it can."""
    if find(cls.__module__, cls.__qualname__) is not cls:
        return f"its class is not found again as {cls.__module__}.{cls.__qualname__}; define it at the top of a module"
    if _in_class(cls, "__del__") is not _UNSET:
        return "its class has a __del__"
    if issubclass(cls, tuple):
        return ""
    hidden = [name for name in _field_names(cls) if not _may_be_set(cls, name)]
    if hidden:
        return f"its field {hidden[0]} is a property or another descriptor"
    try:
        _new(cls)
    except TypeError as error:   # abstract, or an exception, a list, ...
        return str(error)
    return ""


def _in_class(cls: type, name: str) -> Any:
    """Returns its attribute without running code of a metaclass or descriptor."""
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), _UNSET)


def _may_be_set(cls: type, name: str) -> bool:
    """Returns whether an instance may have this attribute: it runs no code and hides no method."""
    found = _in_class(cls, name)
    return isinstance(found, types.MemberDescriptorType) or _in_class(type(found), "__get__") is _UNSET


# Properties of instances.

def _attribute(value: Any, name: str) -> Any:
    try:
        return object.__getattribute__(value, name)
    except AttributeError:
        return _UNSET


def _set(made: Any, name: str, item: Any) -> None:
    try:
        object.__setattr__(made, name, item)
    except (AttributeError, TypeError) as error:   # it has __slots__, none with this name
        raise Unreadable(str(error)) from None


def _other_state(value: Any, fields: List[str]) -> Dict[str, Any]:
    """Returns attributes that are not fields, as set by ``__post_init__``, without those of a cached_property."""
    cls = type(value)
    found = _attribute(value, "__dict__")
    state = dict(found) if type(found) is dict else {}
    for base in cls.__mro__:
        for name, attribute in vars(base).items():
            if isinstance(attribute, types.MemberDescriptorType):
                state[name] = _attribute(value, name)
    for name, item in list(state.items()):
        if name in fields or name in _NOT_STATE or item is _UNSET or isinstance(_in_class(cls, name), functools.cached_property):
            del state[name]
        elif not _may_be_set(cls, name):
            raise _refusal(cls, f"its attribute {name} hides one of its class's")
    return state


def _refusal(cls: type, reason: str) -> TypeError:
    plain = " Or store tuple(value)." if issubclass(cls, tuple) else " Or store a dict of its fields."
    return TypeError(f"a value of type {cls.__name__} cannot be stored: {reason}. Use tensorcache.register_type to store it.{plain}")
