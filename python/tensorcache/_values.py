"""Converts values to parts and structure (docs/format-tensor.md), and back. Pickle is used only with allow_pickle."""
from __future__ import annotations

import json
import pickle
import sys
from collections import OrderedDict
from importlib import import_module
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from . import _classes, _core, _types
from ._classes import Unreadable

MOST_DEPTH = 64
MOST_PARTS = 65535
MOST_NODES = 200_000   # without numbers. Fifty lists that each contain the previous one twice have 2**50
_LONG_LIST = 16   # lists of at least so many floats, or ints, are stored as an array
ALLOWED = ("A value may be bytes, str, bool, int, float, a NumPy array or scalar, anything with DLPack (torch, JAX) or the buffer protocol, a tuple, "
           "list, dict, dataclass or named tuple of those, or of a type registered with tensorcache.register_type")


# To parts and structure.

def flatten(value: Any, allow_pickle: bool) -> Tuple[List[Any], str]:
    """Returns the parts to store, and the structure that combines them."""
    kind = type(value)
    if kind is bytes or kind is str or kind is np.ndarray and not allow_pickle:
        return [value], ""
    if value is None:
        raise TypeError("None cannot be stored: get() returns it for a miss. To store a negative entry, use add_nothing(key, ttl=...)")
    taken = _Taken(allow_pickle)
    structure = taken.node(value, 0)
    return taken.parts or [b""], json.dumps(structure, separators=(",", ":"))


class _Taken:
    """The conversion of one value."""

    def __init__(self, allow_pickle: bool) -> None:
        self.parts: List[Any] = []
        self._allow_pickle = allow_pickle
        self._left = MOST_NODES

    def node(self, value: Any, depth: int) -> Any:
        if depth > MOST_DEPTH:
            raise ValueError(f"the value is nested deeper than {MOST_DEPTH}, or contains itself; flatten it")
        if value is None or value is True or value is False:
            return value
        kind = type(value)
        if kind is int:
            return {"i": str(value) if value.bit_length() <= 64 else hex(value)}   # Python limits the decimal conversion of long integers
        if kind is float:
            return {"f": value.hex()}
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"a value may have {MOST_NODES:,} tuples, texts and other objects in it, and this one has more; use an array")

        def encode(item: Any) -> Any:
            return self.node(item, depth + 1)

        if kind is tuple:
            return {"t": [encode(item) for item in value]}
        if kind is dict:
            return {"d": [[_key(key), encode(item)] for key, item in value.items()]}
        found = _types.node(value, encode)
        if found is not None:
            return found
        if self._allow_pickle:   # preserves, for example, two references to one list
            return self._leaf_or_pickle(value)
        if kind is list:
            return self._list(value, encode)
        if kind is OrderedDict:
            return {"o": [[_key(key), encode(item)] for key, item in value.items()]}
        found = _classes.node(value, encode, _key)
        return self._part(*_leaf(value)) if found is None else found

    def _list(self, value: List[Any], encode: Callable[[Any], Any]) -> Any:
        kinds = set(map(type, value)) if len(value) >= _LONG_LIST else ()
        if kinds == {float}:
            return self._part(np.array(value, np.float64), "list")
        if kinds == {int}:
            try:
                return self._part(np.array(value, np.int64), "list")
            except OverflowError:
                pass
        return {"l": [encode(item) for item in value]}

    def _leaf_or_pickle(self, value: Any) -> Any:
        try:
            return self._part(*_leaf(value))
        except TypeError:
            self.parts.append(pickle.dumps(value, protocol=5))
            return {"k": len(self.parts) - 1}

    def _part(self, part: Any, origin: str) -> Any:
        self.parts.append(part)
        if len(self.parts) > MOST_PARTS:
            raise ValueError(f"a value may have {MOST_PARTS:,} arrays and texts in it, and this one has more; join some into one array")
        return {"p": len(self.parts) - 1, "as": origin} if origin else {"p": len(self.parts) - 1}


def _key(key: Any) -> Any:
    if type(key) is str or type(key) is int:
        return key
    if type(key) is tuple:
        return [_key(item) for item in key]
    raise TypeError(f"a dict with a key of type {type(key).__name__} cannot be stored; use str, int, or tuples of those")


def _leaf(value: Any) -> Tuple[Any, str]:
    """Returns the object that _core stores, and its original type if that is not evident."""
    kind = type(value)
    if kind is str or kind is bytes:
        return value, ""
    if isinstance(value, np.ndarray):
        return _from_numpy(value), ""
    if isinstance(value, np.generic) and not isinstance(value, (str, bytes)):
        return _from_numpy(np.asarray(value)), "scalar"
    if isinstance(value, (str, bytes, int, float, tuple, list, dict)):
        plain = next(base for base in (str, bytes, int, float, tuple, list, dict) if isinstance(value, base)).__name__
        raise TypeError(f"a value of type {kind.__name__} cannot be stored, as it would come back as a plain {plain}; use {plain}(value), or "
                        "tensorcache.register_type")
    if kind is bytearray:
        return bytes(value), "bytearray"
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        part = _from_torch(value, torch)
        return part, "torch-bfloat16" if isinstance(part, tuple) else "torch"
    if kind.__module__.partition(".")[0] in ("jax", "jaxlib") and hasattr(value, "__array__"):
        part = _from_jax(value)
        return part, "jax-bfloat16" if isinstance(part, tuple) else "jax"
    if hasattr(value, "__dlpack__"):
        return _from_dlpack(value), ""
    return _from_buffer(value), "memoryview" if kind is memoryview else ""


def _from_numpy(array: Any) -> Any:
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError("a masked array cannot be stored; use value.filled(...), or a tuple (value.data, value.mask)")
    if type(array) not in (np.ndarray, np.memmap):
        raise TypeError(f"a value of type {type(array).__name__} cannot be stored, as it would come back as a plain array; use numpy.asarray(value)")
    _core.require_storable(array)
    return np.asarray(array)


def _from_torch(tensor: Any, torch: Any) -> Any:
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        raise TypeError(f"a value of type {type(tensor).__name__} cannot be stored, as it would come back as a plain tensor; "
                        "use value.as_subclass(torch.Tensor)")
    if tensor.device.type != "cpu":
        raise TypeError(f"a tensor on {tensor.device} cannot be stored; use tensor.cpu()")
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise TypeError("a sparse or quantised tensor cannot be stored; use tensor.to_dense() or tensor.dequantize()")
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype is torch.bfloat16:
        return ("bfloat16", tensor.view(torch.int16).numpy().view(np.uint16))
    try:
        return tensor.numpy()
    except TypeError:
        raise TypeError(f"a tensor of {tensor.dtype} cannot be stored; NumPy does not have this type. Use tensor.to(...), or tensor.view(torch.uint8)") from None


def _from_jax(array: Any) -> Any:
    plain = np.asarray(array)
    if plain.dtype.name == "bfloat16":
        return ("bfloat16", plain.view(np.uint16))
    return plain


def _from_dlpack(value: Any) -> Any:
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError) as error:   # a device or dtype that NumPy does not support
        raise TypeError(f"a value of type {type(value).__name__} cannot be stored; NumPy does not accept it: {error}") from error


def _from_buffer(value: Any) -> Any:
    try:
        view = memoryview(value)
    except TypeError:
        advice = "use tuple(value)" if isinstance(value, (set, frozenset)) else "see tensorcache.register_type, or open the cache with allow_pickle=True"
        raise TypeError(f"a value of type {type(value).__name__} cannot be stored; {advice}. {ALLOWED}") from None
    native = view.format.lstrip("@=<")
    if native.isalpha() or native == "?":
        try:
            return np.asarray(view)
        except ValueError:
            pass
    raise TypeError(f"a buffer of elements {view.format!r} cannot be stored; use bytes(value), or a buffer of numbers")


# From parts and structure.

def build(structure: str, parts: List[Any], allow_pickle: bool, share: bool) -> Any:
    """Rebuilds the value. ``share``: torch tensors are views of the cache's memory, not copies. Raises Unreadable."""
    try:
        return _build(json.loads(structure), parts, allow_pickle, share)
    except RecursionError:   # flatten() never creates such a structure
        raise Unreadable("it is nested too deep") from None


def is_readable(structure: str) -> bool:
    """Returns whether its classes are loaded and have the same fields. Builds nothing."""
    if '{"c":' not in structure and '{"r":' not in structure:   # quotes within texts are escaped
        return True
    try:
        _require_readable(json.loads(structure))
    except (Unreadable, RecursionError):
        return False
    return True


def _require_readable(node: Any) -> None:
    if isinstance(node, dict):
        if "c" in node:
            _classes.require_readable(node)
        elif "r" in node:
            _types.require_readable(node)
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _require_readable(item)


def _build(node: Any, parts: List[Any], allow_pickle: bool, share: bool) -> Any:
    def decode(item: Any) -> Any:
        return _build(item, parts, allow_pickle, share)

    if node is None or node is True or node is False:
        return node
    if "p" in node:
        origin = node.get("as", "")
        if origin in _ORIGINS:
            return _ORIGINS[origin](parts[node["p"]], share)
    elif "t" in node:
        return tuple(decode(item) for item in node["t"])
    elif "l" in node:
        return [decode(item) for item in node["l"]]
    elif "d" in node:
        return {_plain_key(key): decode(item) for key, item in node["d"]}
    elif "o" in node:
        return OrderedDict((_plain_key(key), decode(item)) for key, item in node["o"])
    elif "i" in node:
        return int(node["i"], 0)
    elif "f" in node:
        return float.fromhex(node["f"])
    elif "c" in node:
        return _classes.build(node, decode, _plain_key)
    elif "r" in node:
        return _types.build(node, decode)
    elif "k" in node:
        if not allow_pickle:
            raise ValueError("this value was stored with pickle; only a cache opened with allow_pickle=True reads it (and trusts its writer)")
        return pickle.loads(parts[node["k"]])
    raise ValueError(f"the value was written by a newer version: {node!r}")


def _plain_key(key: Any) -> Any:
    return tuple(_plain_key(item) for item in key) if isinstance(key, list) else key


def _to_torch(part: Any, share: bool) -> Any:
    torch = import_module("torch")
    return torch.from_numpy(_core.unprotected(part) if share else part.copy(order="K"))


def _to_torch_bfloat16(part: Any, share: bool) -> Any:
    return _to_torch(part.view(np.int16), share).view(import_module("torch").bfloat16)


def _to_jax(part: Any, share: bool) -> Any:
    """Returns a JAX array without a copy: JAX arrays are immutable."""
    jnp = import_module("jax.numpy")
    found = jnp.asarray(part)
    if found.dtype != part.dtype:
        raise TypeError(f'this array of {part.dtype} was stored with 64 bits, and JAX makes {found.dtype} of it; use jax.config.update("jax_enable_x64", True)')
    return found


def _to_jax_bfloat16(part: Any, share: bool) -> Any:
    jnp = import_module("jax.numpy")
    return jnp.asarray(part.view(jnp.bfloat16))


_ORIGINS: Dict[str, Callable[[Any, bool], Any]] = {
    "": lambda part, share: part,
    "scalar": lambda part, share: part[()],
    "list": lambda part, share: part.tolist(),
    "bytearray": lambda part, share: bytearray(part),
    "memoryview": lambda part, share: memoryview(part),
    "torch": _to_torch,
    "torch-bfloat16": _to_torch_bfloat16,
    "jax": _to_jax,
    "jax-bfloat16": _to_jax_bfloat16,
}
