"""TensorCache: a cache for the results of models, keyed by their inputs.

    from tensorcache import TensorCache

    cache = TensorCache("2GiB")
    logits = cache.get_or_compute(tuple(tokens), lambda: run_model(tokens))   # computed once; a read-only array

See docs/python.md.
"""
from importlib.metadata import PackageNotFoundError, version as _version

from ._cache import Entry, Lease, TensorCache
from ._manager import CacheManager
from ._memoize import memoize
from ._paths import PathInUseError
from ._types import register_type

try:
    __version__ = _version("tensorcache")
except PackageNotFoundError:   # run from a source tree
    __version__ = "0"

__all__ = ["CacheManager", "Entry", "Lease", "PathInUseError", "TensorCache", "memoize", "register_type", "__version__"]
