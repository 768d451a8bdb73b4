"""The class TensorCache."""
from __future__ import annotations

import asyncio
import atexit
import functools
import os
import time
import weakref
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from . import _arguments, _core, _paths, _values
from ._classes import Unreadable
from ._compute import Computing
from ._flights import Flights

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._core import Cache, Hit
    from ._core import Lease as CoreLease

_SLICE = 0.1   # seconds between checks for Ctrl-C in a wait

_open_caches: "weakref.WeakSet[TensorCache]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for cache in list(_open_caches):
        cache.close()


def _slices(seconds: float) -> Iterator[float]:
    """Yields the durations of waits, at least one, until ``seconds`` are over."""
    deadline = time.monotonic() + seconds
    left = seconds
    while True:
        yield min(max(left, 0.0), _SLICE)
        left = deadline - time.monotonic()
        if left <= 0:
            return


class _Settings(NamedTuple):
    """Options of a cache that are used after it was opened."""

    name: str
    policy: str
    ttl: Optional[float]
    share: bool
    allow_pickle: bool


class Entry:
    """A stored value with its version, age and freshness."""

    def __init__(self, hit: Hit, build: Callable[..., Any]) -> None:
        self._hit, self._build = hit, build

    @property
    def value(self) -> Any:
        """The value as ``get`` returns it; None for a negative entry."""
        return None if self._hit.negative else self._hit.value(self._build)

    @property
    def version(self) -> int:
        """The version, for ``put_if_version``. Larger than every earlier version of any key; 0: not stored."""
        return self._hit.version

    @property
    def stale(self) -> bool:
        """True if it was past its ttl when read."""
        return self._hit.stale

    @property
    def age(self) -> float:
        """Seconds since it was stored."""
        return self._hit.age

    @property
    def nothing(self) -> bool:
        """True for a negative entry (``add_nothing``, or a compute that returned None, with negative_ttl)."""
        return self._hit.negative

    def __repr__(self) -> str:
        return f"Entry(version={self.version}, age={self.age:.3f}s{', stale' if self.stale else ''}{', nothing' if self.nothing else ''})"


class Lease:
    """The exclusive, time-limited right to write a key. Leaving the ``with`` block or ``release()`` releases it."""

    def __init__(self, cache: "TensorCache", lease: CoreLease) -> None:
        self._cache, self._lease = cache, lease

    def held(self) -> bool:
        """False once it expired or was released."""
        return self._lease.held()

    @_arguments.shows_options
    def add(self, value: Any, **options: "Unpack[_arguments.AddOptions]") -> int:
        """``TensorCache.add`` for its key. Raises TimeoutError and stores nothing if the lease is no longer held."""
        parts, structure = _values.flatten(value, self._cache._allow_pickle)
        version = self._cache._core.lease_add(self._lease, parts, structure, self._cache._options(options))
        if version == 0:
            raise TimeoutError("the lease ran out before the value was stored; use a longer hold= or retry")
        return version

    def release(self) -> None:
        """Releases the lease. Calling it again has no effect."""
        self._lease.release()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()


class TensorCache(Computing):
    """A cache of tensors, bytes and text under keys made of tokens, text, numbers and bytes.

    cache_size: maximum number of entries (int, LRU) or memory budget including overhead (str, e.g. "2GiB").
    path: directory of the disk tier, which one process at a time may use (others get PathInUseError); disk_size is its limit.
    memory: with a number of entries, also a memory budget (default: half of the machine's memory; it is not allocated in advance).
    policy: eviction policy: "lru", "gdsf" (uses ``cost`` and size), "s3fifo", ...
    name: caches with different names never see each other's entries, in memory and on disk; at most 200 bytes.
    ttl: default time to live in seconds for ``add``; None: for ever.
    share: torch tensors are returned as views of the cache's memory, without a copy, and must not be written (see ``get``).
    allow_pickle: pickle values of other types, and load stored pickles. Only for files that no other user can write.

    Keys are bytes, str, int, float, bool, None, NumPy integer arrays, and tuples of those. Values are bytes, str, numbers, NumPy arrays,
    anything with DLPack or the buffer protocol, and tuples, lists, dicts, dataclasses and named tuples of those; ``register_type`` adds
    types. A returned array is a read-only view of the cache's memory, pinned as long as the array exists.

    Every method may be called from any thread. After a fork, the child must open its own cache.
    """

    def __init__(self, cache_size: Union[int, str] = 1024, *, path: Union[str, "os.PathLike[str]", None] = None, disk_size: Union[int, str] = "20GiB",
                 memory: Union[int, str, None] = None, policy: str = "lru", name: str = "", ttl: Optional[float] = None,
                 share: bool = False, allow_pickle: bool = False) -> None:
        entries, size = _arguments.limits(cache_size, memory)
        core = _paths.open_core({
            "entries": entries, "memory": size, "policy": _arguments.text(policy, "policy"), "name": _arguments.text(name, "name"),
            "path": _arguments.path(path), "disk_size": _arguments.size(disk_size, "disk_size")})
        self._set_up(core, _Settings(name, policy, _arguments.default_ttl(ttl), bool(share), bool(allow_pickle)))

    def _set_up(self, core: Cache, settings: _Settings, family: "Optional[List[Flights]]" = None) -> None:
        self._core, self._settings = core, settings
        self._ttl, self._allow_pickle = settings.ttl, settings.allow_pickle
        self._builds = {share: functools.partial(_values.build, allow_pickle=settings.allow_pickle, share=share) for share in (False, True)}
        self._build = self._builds[settings.share]
        self._flights = Flights(family)
        self._refreshes = set()
        _open_caches.add(self)

    def _named(self, name: str, entries: int) -> "TensorCache":
        """A cache with another name in the same store."""
        other = TensorCache.__new__(TensorCache)
        other._set_up(self._core.named(_arguments.text(name, "name"), entries), self._settings._replace(name=name), self._flights.family)
        return other

    # The classic interface.

    @_arguments.shows_options
    def add(self, key: Any, value: Any, **options: "Unpack[_arguments.AddOptions]") -> int:
        """Stores a copy of ``value``, replaces the stored value, and returns the new version.

        Options: ttl (time to live in seconds), stale (seconds for which it is then served as stale), tags (at most 16 strings, for
        ``invalidate``), cost (seconds that computing it again takes, for policies that use it), as_of (a ``now()`` from before its
        computation began). Raises ValueError if the value is larger than the whole cache, MemoryError if all entries are pinned; both keep
        the stored value.
        """
        parts, structure = _values.flatten(value, self._allow_pickle)
        return self._core.add(key, parts, structure, self._options(options))

    def get(self, key: Any, default: Any = None, *, share: Optional[bool] = None) -> Any:
        """Returns the value, or ``default``. NumPy and JAX arrays are read-only views of the cache's memory. torch has no read-only tensors: they
        are copies, or with ``share=True`` (default: the cache's ``share``) views of the cache's memory that must not be written."""
        try:
            return self._core.get(key, self._build if share is None else self._builds[bool(share)], default)
        except Unreadable:   # its class is not loaded, or has different fields
            self._core.count(hits=-1, misses=1)
            return default

    def remove(self, key: Any) -> bool:
        """Removes an entry. Returns True if there was one."""
        digest = _core.digest(key)
        self._core.require_usable()
        self._flights.forget(digest)
        return self._core.remove(digest)

    def clear(self) -> int:
        """Removes all entries and returns their number."""
        self._core.require_usable()
        self._flights.forget_all()
        return self._core.clear()

    # Batches and asyncio.

    def get_many(self, keys: Iterable[Any]) -> List[Any]:
        """``get`` for each key, in their order; None for misses."""
        return [self.get(key) for key in keys]

    @_arguments.shows_options
    def add_many(self, items: Union[Mapping[Any, Any], Iterable[Tuple[Any, Any]]], **options: "Unpack[_arguments.AddOptions]") -> None:
        """``add`` for each (key, value)."""
        for key, value in items.items() if isinstance(items, Mapping) else items:
            self.add(key, value, **options)

    async def aget(self, key: Any, default: Any = None, *, share: Optional[bool] = None) -> Any:
        """``get``; disk reads run on another thread."""
        return await self._aside(functools.partial(self.get, key, default, share=share))

    @_arguments.shows_options
    async def aadd(self, key: Any, value: Any, **options: "Unpack[_arguments.AddOptions]") -> int:
        """``add`` on another thread, because copying may take long."""
        return await asyncio.to_thread(functools.partial(self.add, key, value, **options))

    async def aremove(self, key: Any) -> bool:
        """``remove`` on another thread."""
        return await asyncio.to_thread(self.remove, key)

    # Freshness and versions.

    def add_nothing(self, key: Any, *, ttl: float, tags: Sequence[str] = ()) -> None:
        """Stores a negative entry for ``ttl`` seconds: ``get_or_compute`` then returns None without computing."""
        self._core.add_negative(key, self._options({"ttl": _arguments.seconds(ttl, "ttl", positive=True), "tags": tags}))

    def entry(self, key: Any) -> Optional[Entry]:
        """Returns the value with its version, age and freshness; None on a miss."""
        hit = self._core.lookup(key)
        if hit is not None and not _values.is_readable(hit.structure):
            self._core.count(hits=-1, misses=1)
            return None
        return None if hit is None else Entry(hit, self._build)

    @_arguments.shows_options
    def put_if_version(self, key: Any, version: int, value: Any, **options: "Unpack[_arguments.AddOptions]") -> Optional[int]:
        """Compare-and-swap: stores only if ``version`` is the stored version (0: not stored). Returns the new version, or None on a conflict. Raises
        OSError if the stored value cannot be read now."""
        parts, structure = _values.flatten(value, self._allow_pickle)
        digest, to_store = _core.digest(key), (parts, structure, self._options(options))
        stored, new = self._core.put_if_version(digest, _arguments.whole(version, "version"), *to_store)
        if not stored and version == 0:
            hit = self._core.peek(digest)
            if hit is not None and not _values.is_readable(hit.structure):   # entry() treats it as a miss, too
                stored, new = self._core.put_if_version(digest, hit.version, *to_store)
        return new if stored else None

    def invalidate(self, tag: str) -> bool:
        """Invalidates all entries with this tag, in O(1). Returns False if the invalidation could not be persisted; it then applies to this
        process only."""
        done = self._core.invalidate(_arguments.text(tag, "tag"))
        self._flights.invalidate(tag)
        return done

    def now(self) -> int:
        """Returns a version larger than all so far, for ``as_of``."""
        return self._core.now()

    def lease(self, key: Any, *, timeout: float = 10.0, hold: float = 60.0) -> Lease:
        """Waits up to ``timeout`` seconds for the lease of ``key``, then holds it for at most ``hold`` seconds. Raises TimeoutError. Advisory: plain
        add() calls are not blocked."""
        digest, held = _core.digest(key), _arguments.seconds(hold, "hold", positive=True)
        for patience in _slices(_arguments.seconds(timeout, "timeout")):
            lease = self._core.lease(digest, patience, held)
            if lease is not None:
                return Lease(self, lease)
        raise TimeoutError(f"the lease was held by another caller for all of {timeout} s")

    # The whole cache.

    def __contains__(self, key: Any) -> bool:
        return self._core.contains(key)

    def __len__(self) -> int:
        """The number of entries in memory or on disk, whichever is larger. Expired and invalidated ones count until a lookup meets them."""
        if self._core.has_disk and not self.name:
            return max(self._core.size(), int(self._core.stats()["disk_entries"]))
        return self._core.size()

    def stats(self) -> Dict[str, Any]:
        """Returns counters and sizes: hits, misses, waits, computations, entries, used_bytes, capacity_bytes, evictions, ...; with a path also disk_*.

        Each requested key counts once: as a hit, a miss, or a wait (it received the result of another thread's or task's computation).
        ``computations`` counts computed values, including refreshes of stale ones.
        """
        return self._core.stats()

    def resize(self, cache_size: Union[int, str]) -> None:
        """Changes the limit at once: a number of entries, or bytes ("4GiB")."""
        if isinstance(cache_size, str):
            self._core.resize(_arguments.size(cache_size, "cache_size"))
        else:
            self._core.resize_entries(_arguments.entries(cache_size))

    def flush(self, timeout: float = 60.0) -> bool:
        """Waits until all writes and removals so far are on disk. Returns False on timeout, or if the disk failed."""
        for patience in _slices(_arguments.seconds(timeout, "timeout")):
            if self._core.flush(patience):
                return True
            if self._core.stats().get("disk_degraded"):
                return False
        return False

    def close(self) -> bool:
        """Writes the queue to disk and frees the memory, except that of arrays in use. Waits for calls in progress on other threads; running
        computations return their results without storing them. Returns False if not all removals could be persisted within five seconds, so
        that removed or replaced values may reappear at the next start. Calling it again returns the same result."""
        closed: bool = self._core.close()
        _open_caches.discard(self)
        return closed

    @property
    def closed(self) -> bool:
        """True after ``close``."""
        return self._core.closed

    @property
    def name(self) -> str:
        """The cache's name; "" is the default."""
        return self._settings.name

    def __enter__(self) -> "TensorCache":
        if self.closed:
            raise ValueError("the cache is closed")
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __bool__(self) -> bool:
        return True   # an empty cache is a cache

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        if self.closed:
            return f"<TensorCache {name}closed>"
        try:
            stats = self.stats()
        except RuntimeError:
            return f"<TensorCache {name}of the process before the fork>"
        return (f"<TensorCache {name}{stats['entries']} entries, {_core.format_size(stats['used_bytes'])} of {_core.format_size(stats['capacity_bytes'])}, "
                f"{stats['hits']} hits, {stats['misses']} misses, policy {self._settings.policy}{', on disk' if self._core.has_disk else ''}>")

    def __reduce__(self) -> Any:
        raise TypeError("a TensorCache cannot be copied, pickled or sent to another process; open a separate cache there, with its own path")
