"""Values as parts and structure (docs/format-tensor.md), and back. No pickle but where it was asked for."""
from __future__ import annotations

import json
import pickle
import sys
from typing import Any, List, Tuple

import numpy as np

MOST_DEPTH = 64
ALLOWED = ("a value may be bytes, str, bool, int, float, a NumPy array, anything with DLPack (torch, JAX) or the buffer protocol, or a tuple or dict "
           "of those")


def flatten(value: Any, allow_pickle: bool) -> Tuple[List[Any], str]:
    """The parts to store and the structure that puts them together again."""
    kind = type(value)
    if kind is np.ndarray or kind is bytes or kind is str:
        return [value], ""
    if value is None:
        raise TypeError("None cannot be stored: get() returns it for a miss. To remember that there is nothing, use add_nothing(key, ttl=...)")
    parts: List[Any] = []
    structure = _node(value, parts, allow_pickle, 0)
    return parts or [b""], json.dumps(structure, separators=(",", ":"))


def _node(value: Any, parts: List[Any], allow_pickle: bool, depth: int) -> Any:
    if depth > MOST_DEPTH:
        raise ValueError(f"the value is nested deeper than {MOST_DEPTH}; flatten it")
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if kind is tuple:
        return {"t": [_node(item, parts, allow_pickle, depth + 1) for item in value]}
    if kind is dict:
        return {"d": [[_key(key), _node(item, parts, allow_pickle, depth + 1)] for key, item in value.items()]}
    if kind is int:
        return {"i": str(value)}
    if kind is float:
        return {"f": value.hex()}
    part, origin = _leaf(value, allow_pickle)
    parts.append(part)
    if origin == "pickle":
        return {"k": len(parts) - 1}
    return {"p": len(parts) - 1, "as": origin} if origin else {"p": len(parts) - 1}


def _key(key: Any) -> Any:
    if type(key) is str or type(key) is int:
        return key
    if type(key) is tuple:
        return [_key(item) for item in key]
    raise TypeError(f"a dict with a key of type {type(key).__name__} cannot be stored; use str, int, or tuples of those")


def _leaf(value: Any, allow_pickle: bool) -> Tuple[Any, str]:
    """What the core stores, and what it was where that says too little."""
    if isinstance(value, (str, bytes)):
        return value, ""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("a masked array cannot be stored; use value.filled(...), or a tuple (value.data, value.mask)")
    if isinstance(value, np.generic):
        return np.asarray(value), "scalar"
    if isinstance(value, np.ndarray):
        return np.asarray(value), ""
    if isinstance(value, bytearray):
        return bytes(value), "bytearray"
    if isinstance(value, memoryview):
        return np.asarray(value), "memoryview"
    library = type(value).__module__.partition(".")[0]
    if library == "torch" and hasattr(value, "detach"):
        part = _from_torch(value)
        return part, "torch-bfloat16" if isinstance(part, tuple) else "torch"
    if library in ("jax", "jaxlib") and hasattr(value, "__array__"):
        part = _from_jax(value)
        return part, "jax-bfloat16" if isinstance(part, tuple) else "jax"
    if hasattr(value, "__dlpack__"):
        return np.from_dlpack(value), ""
    try:
        return np.asarray(memoryview(value)), ""
    except TypeError:
        pass
    if allow_pickle:
        return pickle.dumps(value, protocol=5), "pickle"
    advice = "use tuple(value), or np.array(value)" if isinstance(value, (list, set, frozenset)) else "convert it, or open the cache with allow_pickle=True"
    raise TypeError(f"a value of type {type(value).__name__} cannot be stored; {advice}. {ALLOWED[0].upper()}{ALLOWED[1:]}")


def _from_torch(tensor: Any) -> Any:
    torch = sys.modules["torch"]
    if tensor.device.type != "cpu":
        raise TypeError(f"a tensor on {tensor.device} cannot be stored; use tensor.cpu()")
    if tensor.is_sparse or tensor.is_quantized:
        raise TypeError("a sparse or quantised tensor cannot be stored; use tensor.to_dense() or tensor.dequantize()")
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype is torch.bfloat16:
        return ("bfloat16", tensor.contiguous().view(torch.int16).numpy().view(np.uint16))
    return tensor.numpy()


def _from_jax(array: Any) -> Any:
    plain = np.asarray(array)
    if plain.dtype.name == "bfloat16":
        return ("bfloat16", plain.view(np.uint16))
    return plain


def build(structure: str, parts: List[Any], allow_pickle: bool = False, share: bool = False) -> Any:
    """The value again. ``share``: torch and JAX look at the cache's memory instead of a copy of it."""
    return _build(json.loads(structure), parts, allow_pickle, share)


def _build(node: Any, parts: List[Any], allow_pickle: bool, share: bool) -> Any:
    if node is None or node is True or node is False:
        return node
    if "p" in node:
        return _as(parts[node["p"]], node.get("as", ""), share)
    if "t" in node:
        return tuple(_build(item, parts, allow_pickle, share) for item in node["t"])
    if "d" in node:
        return {_plain_key(key): _build(item, parts, allow_pickle, share) for key, item in node["d"]}
    if "i" in node:
        return int(node["i"])
    if "f" in node:
        return float.fromhex(node["f"])
    if "k" in node:
        if not allow_pickle:
            raise ValueError("this value was stored with pickle; only a cache opened with allow_pickle=True reads it (and trusts who wrote it)")
        return pickle.loads(parts[node["k"]])
    raise ValueError(f"the value was written by a newer version: {node!r}")


def _plain_key(key: Any) -> Any:
    return tuple(_plain_key(item) for item in key) if isinstance(key, list) else key


def _as(part: Any, origin: str, share: bool) -> Any:
    if origin == "scalar":
        return part[()]
    if origin == "bytearray":
        return bytearray(part)
    if origin == "memoryview":
        return memoryview(part)
    if origin == "":
        return part
    copy = part if share else part.copy()
    if origin == "torch" or origin == "torch-bfloat16":
        import torch
        return torch.from_numpy(copy) if origin == "torch" else torch.from_numpy(copy.view(np.int16)).view(torch.bfloat16)
    if origin == "jax" or origin == "jax-bfloat16":
        import jax.numpy as jnp
        return jnp.asarray(copy if origin == "jax" else copy.view(jnp.bfloat16))
    return part
