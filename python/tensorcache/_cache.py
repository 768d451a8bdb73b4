"""TensorCache."""
from __future__ import annotations

import atexit
import functools
import os
import threading
import time
import weakref
from typing import Any, Callable, Dict, Optional, Sequence, Tuple, Union

from . import _core, _values
from ._compute import Computing
from ._flights import Flights

_PLAIN = (0.0, 0.0, (), 1.0, 0)   # ttl, stale, tags, cost, as of
_open_caches: "weakref.WeakSet[TensorCache]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for cache in list(_open_caches):
        cache.close()


def _memory_of_machine() -> int:
    """Bytes this process may use: the machine's memory, or its control group's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            return min(total, int(file.read()))
    except (OSError, ValueError):   # no such group, or "max"
        return total


def _limits(cache_size: Union[int, str], memory: Union[int, str, None]) -> Tuple[int, int]:
    """(entries, bytes); 0 entries: no limit of a number."""
    if isinstance(cache_size, str):
        if memory is not None:
            raise ValueError("cache_size is a size in bytes already; leave memory out, or give cache_size as a number of entries")
        return 0, _core.parse_size(cache_size)
    if isinstance(cache_size, bool) or not isinstance(cache_size, int) or cache_size <= 0:
        raise ValueError(f'cache_size must be a number of entries, 1 or more, or a size like "2GiB"; it is {cache_size!r}')
    if memory is None:
        return cache_size, _memory_of_machine() // 2
    return cache_size, _core.parse_size(memory) if isinstance(memory, str) else int(memory)


class Entry:
    """A value that was found, and what the cache knows of it."""

    def __init__(self, hit: Any, build: Callable[..., Any]) -> None:
        self._hit, self._build = hit, build

    @property
    def value(self) -> Any:
        """As ``get`` returns it; None where it is remembered that there is nothing."""
        return None if self._hit.negative else self._hit.value(self._build)

    @property
    def version(self) -> int:
        """For ``put_if_version``. Larger than every earlier version of any key; 0 is "nothing there"."""
        return self._hit.version

    @property
    def stale(self) -> bool:
        """Past its ttl when it was read."""
        return self._hit.stale

    @property
    def age(self) -> float:
        """Seconds since it was stored."""
        return self._hit.age

    @property
    def nothing(self) -> bool:
        """It is remembered that there is nothing (``add_nothing``, or a compute that returned None, with negative_ttl)."""
        return self._hit.negative

    def __repr__(self) -> str:
        return f"Entry(version={self.version}, age={self.age:.3f}s{', stale' if self.stale else ''}{', nothing' if self.nothing else ''})"


class Lease:
    """The right to write a key, for a limited time. Leave the ``with`` block, or call ``release()``, to give it back."""

    def __init__(self, cache: "TensorCache", lease: Any) -> None:
        self._cache, self._lease = cache, lease

    def held(self) -> bool:
        """False once it ran out or was given back."""
        return self._lease.held()

    def add(self, value: Any, **options: Any) -> int:
        """``TensorCache.add`` for its key, only if the lease is still held; else raises TimeoutError and stores nothing."""
        parts, structure = _values.flatten(value, self._cache._allow_pickle)
        version = self._cache._core.lease_add(self._lease, parts, structure, self._cache._options(**options))
        if version == 0:
            raise TimeoutError("the lease ran out before the value was stored; take it for longer (hold=), or begin again")
        return version

    def release(self) -> None:
        self._lease.release()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()


class TensorCache(Computing):
    """A cache of tensors, bytes and text under keys of tokens, text or anything made of those.

    cache_size: at most so many entries (an int; the least recently used go first), or so many bytes of memory, everything counted ("2GiB").
    path: keep the values on disk too, in this folder, which one process at a time may use; disk_size bounds it.
    memory: with a number of entries, also a limit in bytes (default: half of the machine's memory, which is not taken before it is needed).
    policy: which value goes first when the memory is full: "lru", "gdsf" (weighs ``cost`` and size), "s3fifo", ...
    ttl: seconds that values are fresh where ``add`` says nothing else; None: for ever.
    allow_pickle: values of other types are pickled, and pickles that are found are loaded. Only for files that nobody else can write.

    Keys are bytes, str, int, float, bool, None, NumPy integer arrays, and tuples of those. Values are bytes, str, numbers, NumPy arrays,
    anything with DLPack or the buffer protocol, and tuples and dicts of those. An array that comes out is a read-only view of the cache's
    memory, which stays as long as the array does.

    Every method may be called from any thread. After a fork the child must open a cache of its own.
    """

    def __init__(self, cache_size: Union[int, str] = 1024, *, path: Union[str, "os.PathLike[str]", None] = None, disk_size: Union[int, str] = "20GiB",
                 memory: Union[int, str, None] = None, policy: str = "lru", name: str = "", ttl: Optional[float] = None,
                 allow_pickle: bool = False) -> None:
        entries, size = _limits(cache_size, memory)
        core = _core.Cache({
            "entries": entries, "memory": size, "policy": policy, "name": name, "path": None if path is None else os.fspath(path),
            "disk_size": _core.parse_size(disk_size) if isinstance(disk_size, str) else int(disk_size)})
        self._set_up(core, name, policy, path is not None, ttl, allow_pickle)
        _open_caches.add(self)

    def _set_up(self, core: Any, name: str, policy: str, on_disk: bool, ttl: Optional[float], allow_pickle: bool) -> None:
        self._core, self._name, self._policy, self._on_disk, self._ttl, self._allow_pickle = core, name, policy, on_disk, ttl, allow_pickle
        self._build = functools.partial(_values.build, allow_pickle=allow_pickle)
        self._flights = Flights()
        self._forgetting = threading.Lock()   # held while a key is forgotten, and while a computed value is stored
        self._tasks: set = set()              # refreshes, so that the event loop's weak references are not the only ones

    def _options(self, ttl: Optional[float] = None, stale: float = 0.0, tags: Sequence[str] = (), cost: float = 1.0, as_of: int = 0) -> Tuple:
        if ttl is None:
            ttl = self._ttl
        if ttl is not None and not ttl > 0:
            raise ValueError(f"ttl must be a number of seconds larger than 0, or None; it is {ttl!r}")
        if stale and ttl is None:
            raise ValueError("stale= says how long a value is served after its ttl; give ttl= too")
        if isinstance(tags, str):
            raise TypeError(f"tags must be several strings; use tags=({tags!r},)")
        return (ttl or 0.0, stale, list(tags), cost, as_of)

    # The classic four.

    def add(self, key: Any, value: Any, **options: Any) -> int:
        """Stores a copy of ``value`` in place of what is there, and returns its version.

        Options: ttl (seconds it is fresh), stale (seconds it is served after that, marked as stale), tags (for ``invalidate``), cost (seconds that
        computing it again takes, for policies that weigh it), as_of (a ``now()`` from before its computation began).
        Raises ValueError if it is larger than the whole cache (what was there stays), MemoryError if there is no room because all is held.
        """
        parts, structure = _values.flatten(value, self._allow_pickle)
        return self._core.add(key, parts, structure, self._options(**options) if options or self._ttl is not None else _PLAIN)

    def get(self, key: Any, default: Any = None, *, share: bool = False) -> Any:
        """The value, or ``default``. Arrays are read-only views, without a copy. torch and JAX tensors are copies, since those libraries have
        no read-only memory; ``share=True`` gives them the cache's memory, which must then not be written."""
        if share:
            hit = self._core.lookup(key, True)
            if hit is None or hit.negative:
                return default
            structure, parts = hit.parts(True)
            return _values.build(structure, parts, self._allow_pickle, True) if structure else hit.value(self._build)
        return self._core.get(key, self._build, default)

    def remove(self, key: Any) -> bool:
        """Forgets a key. True if there was something."""
        digest = _core.digest(key)
        with self._forgetting:
            self._flights.forget(digest)
            return self._core.remove(digest)

    def clear(self) -> int:
        """Forgets everything; how many entries went."""
        with self._forgetting:
            self._flights.forget_all()
            return self._core.clear()

    # Freshness and versions.

    def add_nothing(self, key: Any, *, ttl: float, tags: Sequence[str] = ()) -> None:
        """Remembers for ``ttl`` seconds that there is nothing: ``get_or_compute`` then returns None without computing."""
        self._core.add_negative(key, self._options(ttl=ttl, tags=tags))

    def entry(self, key: Any) -> Optional[Entry]:
        """The value with its version, age and freshness; None on a miss."""
        hit = self._core.lookup(key, True)
        return None if hit is None else Entry(hit, self._build)

    def put_if_version(self, key: Any, version: int, value: Any, **options: Any) -> Optional[int]:
        """Stores only if ``version`` is what is stored (0: nothing is). The new version, or None: somebody else was faster."""
        parts, structure = _values.flatten(value, self._allow_pickle)
        stored, new = self._core.put_if_version(key, version, parts, structure, self._options(**options))
        return new if stored else None

    def invalidate(self, tag: str) -> bool:
        """Everything stored with this tag before now is gone, however much that is: O(1). False: on a disk that fails, it holds for this
        process only."""
        return self._core.invalidate(tag)

    def now(self) -> int:
        """A version larger than all so far, for ``as_of``."""
        return self._core.now()

    def lease(self, key: Any, *, timeout: float = 10.0, hold: float = 60.0) -> Lease:
        """Waits up to ``timeout`` seconds for the right to write ``key``, then holds it for ``hold`` seconds at most. Raises TimeoutError. It keeps
        off only those who ask for a lease."""
        digest, deadline = _core.digest(key), time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            lease = self._core.lease(digest, min(max(left, 0.0), 0.1), hold)   # in slices, so that Ctrl-C is heard
            if lease is not None:
                return Lease(self, lease)
            if left <= 0:
                raise TimeoutError(f"somebody else has held the lease for all of {timeout} s")

    # The whole.

    def __contains__(self, key: Any) -> bool:
        return self._core.contains(key)

    def __len__(self) -> int:
        """Entries in memory or on disk, whichever are more. Those that expired or were invalidated count until they are met."""
        if not self._on_disk:
            return self._core.size()
        return max(self._core.size(), self._core.stats()["disk_entries"] if not self._name else 0)

    def stats(self) -> Dict[str, Any]:
        """Counters and sizes: hits, misses, entries, used_bytes, capacity_bytes, evictions, ...; with a path also disk_*."""
        return self._core.stats()

    def resize(self, cache_size: Union[int, str]) -> None:
        """Another limit, at once: a number of entries, or bytes ("4GiB")."""
        if isinstance(cache_size, str):
            self._core.resize(_core.parse_size(cache_size))
        else:
            self._core.resize_entries(_limits(cache_size, 1)[0])

    def flush(self, timeout: float = 60.0) -> bool:
        """Waits until everything so far is on disk. False: not within ``timeout`` seconds, or the disk does not work."""
        return self._core.flush(timeout)

    def close(self) -> None:
        """Writes what waits to the disk, and gives the memory back; arrays that are still in use keep theirs. Again: nothing happens."""
        self._core.close()
        _open_caches.discard(self)

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._core.closed

    @property
    def name(self) -> str:
        return self._name

    def __enter__(self) -> "TensorCache":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __bool__(self) -> bool:
        return True   # an empty cache is a cache

    def __repr__(self) -> str:
        name = f"{self._name!r}, " if self._name else ""
        if self.closed:
            return f"<TensorCache {name}closed>"
        try:
            stats = self.stats()
        except RuntimeError:
            return f"<TensorCache {name}of the process before the fork>"
        return (f"<TensorCache {name}{stats['entries']} entries, {_core.format_size(stats['used_bytes'])} of {_core.format_size(stats['capacity_bytes'])}, "
                f"{stats['hits']} hits, {stats['misses']} misses, policy {self._policy}{', on disk' if self._on_disk else ''}>")

    def __reduce__(self) -> Any:
        raise TypeError("a TensorCache cannot be pickled or sent to another process; give that process a path of its own")
