"""CacheManager: several named caches under one budget."""
from __future__ import annotations

import inspect
import threading
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Union

from . import _arguments
from ._cache import TensorCache

if TYPE_CHECKING:
    from typing_extensions import Unpack


class CacheManager:
    """Several named caches that share one memory budget (and one disk).

    Takes the arguments of TensorCache. ``add``, ``get`` and ``remove`` use the cache without a name; ``clear`` applies to all caches.

        manager = CacheManager("2GiB")
        manager.cache("embeddings").add("text", vector)
    """

    def __init__(self, cache_size: Union[int, str] = 1024, **options: Any) -> None:
        self._default = TensorCache(cache_size, **options)
        self._lock = threading.Lock()
        self._caches: Dict[str, TensorCache] = {self._default.name: self._default}

    def cache(self, name: str, cache_size: Optional[int] = None) -> TensorCache:
        """Returns the cache of this name (at most 200 bytes), created at its first use; ``cache_size`` then limits its entries."""
        self._default._core.require_usable()
        with self._lock:
            found = self._caches.get(name)
            if found is None:
                found = self._default._named(name, 0 if cache_size is None else _arguments.entries(cache_size))
                self._caches[name] = found
            return found

    def names(self) -> List[str]:
        """Returns the names in use; "" is the default cache."""
        return sorted(self._caches)

    @_arguments.shows_options
    def add(self, key: Any, value: Any, **options: "Unpack[_arguments.AddOptions]") -> int:
        """``TensorCache.add`` of the cache without a name."""
        return self._default.add(key, value, **options)

    def get(self, key: Any, default: Any = None, *, share: Optional[bool] = None) -> Any:
        """``TensorCache.get`` of the cache without a name."""
        return self._default.get(key, default, share=share)

    def remove(self, key: Any) -> bool:
        """``TensorCache.remove`` of the cache without a name."""
        return self._default.remove(key)

    def clear(self) -> int:
        """Removes all entries of all caches and returns their number."""
        return sum(cache.clear() for cache in list(self._caches.values()))

    def invalidate(self, tag: str) -> bool:
        """Invalidates all entries with this tag in all caches: the caches of a manager share tags."""
        return self._default.invalidate(tag)

    def resize(self, cache_size: Union[int, str]) -> None:
        """Bytes ("4GiB"): the budget of all caches. A number of entries: the limit of the cache without a name."""
        self._default.resize(cache_size)

    def stats(self) -> Dict[str, Dict[str, Any]]:
        """Returns statistics by name. Sizes in bytes are those of the whole store."""
        return {name: cache.stats() for name, cache in list(self._caches.items())}

    def flush(self, timeout: float = 60.0) -> bool:
        """``TensorCache.flush`` for all caches."""
        return self._default.flush(timeout)

    def close(self) -> bool:
        """``TensorCache.close`` for all caches."""
        return all([cache.close() for cache in list(self._caches.values())])

    def __len__(self) -> int:
        return sum(len(cache) for cache in list(self._caches.values()))

    def __contains__(self, key: Any) -> bool:
        return key in self._default

    def __bool__(self) -> bool:
        return True   # without entries, too

    def __enter__(self) -> "CacheManager":
        self._default.__enter__()
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<CacheManager of {', '.join(repr(cache) for cache in list(self._caches.values()))}>"


setattr(CacheManager.__init__, "__signature__", inspect.signature(TensorCache.__init__))   # what its **options are
