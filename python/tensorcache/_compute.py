"""Computing on a miss: get_or_compute, its batches, and the same for asyncio."""
from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, TypeVar, Union

from . import _arguments, _core, _values
from ._classes import Unreadable
from ._flights import Flight, Flights

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._core import Cache, Hit

T = TypeVar("T")
ComputeMany = Callable[[List[Any]], Sequence[Any]]   # takes the missing keys, returns as many values

_MISSING = object()
_NOT_REFRESHED = "a stale value could not be refreshed"
_log = logging.getLogger("tensorcache")


_warned_of: "weakref.WeakSet[type]" = weakref.WeakSet()


def _warn_of_type(value: Any, error: Exception) -> None:
    """Warns once per type. A computed value must not be lost because it cannot be stored, or because warnings are errors."""
    try:
        if type(value) in _warned_of:
            return
        _warned_of.add(type(value))
        warnings.warn(f"a computed value cannot be stored and is computed again each time: {error}", RuntimeWarning, stacklevel=2)
    except Exception as trouble:   # also a metaclass whose classes have no hash
        _log.warning("a computed value cannot be stored: %s (%s)", error, trouble)


class Asked(NamedTuple):
    """Options for storing a result."""

    options: _arguments.Options
    negative_ttl: float   # seconds for which a None is stored; 0: not stored


class Computing:
    """The part of TensorCache that computes. TensorCache initialises its attributes."""

    _core: Cache
    _build: Callable[..., Any]
    _flights: Flights
    _refreshes: "Set[asyncio.Task[Any]]"
    _ttl: Optional[float]
    _allow_pickle: bool

    @_arguments.shows_options
    def get_or_compute(self, key: Any, compute: Callable[[], T], *, negative_ttl: float = 0.0, **options: "Unpack[_arguments.AddOptions]") -> T:
        """Returns the stored value, or the result of ``compute()``, which is then stored with ``options`` (see ``add``).

        Single-flight: one thread computes, the others wait. An exception is raised in all of them and nothing is stored; if the computing
        thread is interrupted (KeyboardInterrupt), one of the waiters retries. A stale value is returned at once while one thread refreshes it; a
        failed refresh is logged and keeps the stale value. None means "there is nothing" and is stored for ``negative_ttl`` seconds. A value
        too large for the cache, or of a type that cannot be stored, is returned without being stored, with one RuntimeWarning per type.
        Raises RuntimeError if ``compute`` requests its own key.
        """
        result: T = self._get_or_compute(_core.digest(key), key, lambda _: [compute()], self._asked(negative_ttl, options))
        return result

    @_arguments.shows_options
    def get_or_compute_many(self, keys: Iterable[Any], compute: ComputeMany, *, negative_ttl: float = 0.0,
                            **options: "Unpack[_arguments.AddOptions]") -> List[Any]:
        """Returns the values of ``keys`` in their order. ``compute`` gets the list of the keys that are missing and not being computed elsewhere, and
        returns as many values; it is called again for keys that another thread failed to compute. Otherwise as ``get_or_compute``."""
        asked = self._asked(negative_ttl, options)
        keys = list(keys)
        digests = [_core.digest(key) for key in keys]
        found: Dict[Any, Any] = {}
        missing: Dict[Any, Any] = {}
        stale: Dict[Flight, Any] = {}
        for digest, key in dict(zip(digests, keys)).items():
            hit, value = self._probe(digest)
            if hit is None:
                missing[digest] = key
                continue
            found[digest] = value
            if hit.stale:
                stale[Flight(digest, asked.options.tags, hit.version)] = key
        if stale:
            self._refresh(stale, compute, asked)
        if missing:   # before waiting for others, so that two batches never wait for each other
            found.update(self._lead_missing(missing, compute, asked))
        for digest, key in missing.items():
            if digest not in found:
                found[digest] = self._get_or_compute(digest, key, compute, asked)
        given: Set[Any] = set()
        results = []
        for digest in digests:
            results.append(self._own(digest, found[digest]) if digest in given else found[digest])
            given.add(digest)
        return results

    @_arguments.shows_options
    async def aget_or_compute(self, key: Any, compute: Callable[[], Union[T, Awaitable[T]]], *, negative_ttl: float = 0.0,
                              **options: "Unpack[_arguments.AddOptions]") -> T:
        """``get_or_compute`` for a coroutine function (or a plain one, which then runs in the event loop). Single-flight among all tasks and threads;
        if the computing task is cancelled, one of the waiters retries. Does not block the event loop."""
        result: T = await self._aget_or_compute(_core.digest(key), compute, self._asked(negative_ttl, options))
        return result

    # Shared by threads and tasks.

    def _asked(self, negative_ttl: float, options: Mapping[str, Any]) -> Asked:
        return Asked(self._options(options), _arguments.seconds(negative_ttl, "negative_ttl") if negative_ttl else 0.0)

    def _options(self, given: Mapping[str, Any]) -> _arguments.Options:
        return _arguments.options(given, self._ttl) if given or self._ttl is not None else _arguments.PLAIN

    def _value(self, hit: Optional[Hit]) -> Any:
        """Returns _MISSING for a miss, or for a value whose class changed."""
        if hit is None:
            return _MISSING
        try:
            return None if hit.negative else hit.value(self._build)
        except Unreadable:
            return _MISSING

    def _probe(self, digest: Any) -> Tuple[Optional[Hit], Any]:
        """Returns the stored hit and its value, and counts the hit. The caller counts (None, _MISSING), as a miss or a wait."""
        hit = self._core.probe(digest)
        value = self._value(hit)
        if hit is not None and value is _MISSING:
            self._core.count(hits=-1)   # undo the count
            return None, _MISSING
        return hit, value

    def _own(self, digest: Any, value: Any) -> Any:
        """Returns a waiting caller's own object, as a hit does, so that callers cannot modify each other's; ``value`` itself if it is not stored."""
        if value is None or isinstance(value, (str, bytes, int, float)):
            return value
        hit = self._core.peek(digest)
        own = _MISSING if hit is None or hit.negative else self._value(hit)
        return value if own is _MISSING else own

    def _stored_since(self, flight: Flight) -> Any:
        """Returns the value stored since the flight's caller looked; _MISSING if there is none, or it cannot be read and must be replaced."""
        hit = self._core.peek(flight.digest)
        if hit is None or hit.version == flight.replaces:
            return _MISSING
        value = self._value(hit)
        if value is _MISSING:
            flight.replaces = hit.version
        return value

    def _store(self, flight: Flight, value: Any, asked: Asked, as_of: int) -> Any:
        """Stores a result, unless the key was written or removed meanwhile. Returns the value for all callers."""
        options = asked.options._replace(as_of=as_of)
        try:
            parts, structure = ([], "") if value is None else _values.flatten(value, self._allow_pickle)
        except Exception as error:   # a registered to_tree may raise anything
            _warn_of_type(value, error)
            return value
        try:
            with flight.lock:
                if flight.forgotten:
                    return value
                if value is not None:
                    self._core.put_if_version(flight.digest, flight.replaces, parts, structure, options)
                elif asked.negative_ttl and self._stored_since(flight) is _MISSING:
                    self._core.add_negative(flight.digest, options._replace(ttl=asked.negative_ttl, stale=0.0))
            stored = self._core.peek(flight.digest)
            found = _MISSING if stored is None or stored.negative else self._value(stored)
            return value if found is _MISSING else found
        except (ValueError, MemoryError, OSError) as error:
            # No space, the stored value cannot be read, or the cache was closed: return the result without storing it.
            if isinstance(error, (_core.TooLarge, MemoryError, OSError)) or self._core.closed:
                return value
            raise

    # For threads.

    def _get_or_compute(self, digest: Any, key: Any, compute: ComputeMany, asked: Asked) -> Any:
        while True:
            hit, value = self._probe(digest)
            if hit is not None:
                if hit.stale:
                    self._refresh({Flight(digest, asked.options.tags, hit.version): key}, compute, asked)
                return value
            mine = Flight(digest, asked.options.tags)
            try:
                flight = self._flights.join(mine)
                if flight is mine:
                    self._core.count(misses=1)
                    return self._lead({mine: key}, compute, asked)[0]
            except BaseException as error:
                self._flights.fail(mine, error)
                raise
            outcome = flight.wait()
            if not outcome.abandoned and not flight.invalidated:
                self._core.count(waits=1)
                return self._own(digest, outcome.get())

    def _lead_missing(self, keys: Mapping[Any, Any], compute: ComputeMany, asked: Asked) -> Dict[Any, Any]:
        """Computes those of ``keys`` (by digest) that are not being computed. Returns values by digest."""
        mine = {Flight(digest, asked.options.tags): key for digest, key in keys.items()}
        try:
            led = {flight: key for flight, key in mine.items() if self._flights.join(flight) is flight}
            self._core.count(misses=len(led))
            results = self._lead(led, compute, asked)
        except BaseException as error:
            for flight in mine:
                self._flights.fail(flight, error)
            raise
        return {flight.digest: result for flight, result in zip(led, results)}

    def _lead(self, flights: Mapping[Flight, Any], compute: ComputeMany, asked: Asked) -> List[Any]:
        """Computes all ``flights`` (each with its key) in one call, lands them, and returns the results. If it raises, the caller fails them."""
        for flight in flights:
            flight.led_by()
        results = {flight: self._stored_since(flight) for flight in flights}
        missing = [flight for flight, result in results.items() if result is _MISSING]
        if missing:
            as_of = self._core.now()
            self._core.count(computations=len(missing))
            values = compute([flights[flight] for flight in missing])
            if len(values) != len(missing):
                raise ValueError(f"compute was given {len(missing)} keys and returned {len(values)} values")
            for flight, value in zip(missing, values):
                results[flight] = self._store(flight, value, asked, as_of)
        for flight, result in results.items():
            self._flights.land(flight, result)
        return list(results.values())

    def _refresh(self, stale: Mapping[Flight, Any], compute: ComputeMany, asked: Asked) -> None:
        """Refreshes stale keys that are not being refreshed, on a new thread."""
        led: Dict[Flight, Any] = {}

        def failed(error: BaseException) -> None:   # stale values are still served; the next lookup retries
            for flight in stale:
                self._flights.fail(flight, error)
            _log.warning(_NOT_REFRESHED, exc_info=error)

        def work() -> None:
            try:
                self._lead(led, compute, asked)
            except BaseException as error:
                failed(error)

        try:
            led.update((flight, key) for flight, key in stale.items() if self._flights.join(flight) is flight)
            if led:
                threading.Thread(target=work, name="tensorcache-refresh", daemon=True).start()
        except RuntimeError as error:   # no more threads
            failed(error)
        except BaseException as error:
            failed(error)
            raise

    # For asyncio.

    async def _aget_or_compute(self, digest: Any, compute: Callable[[], Any], asked: Asked) -> Any:
        while True:
            hit, value = await self._aside(self._probe, digest)
            if hit is not None:
                if hit.stale:
                    self._arefresh(Flight(digest, asked.options.tags, hit.version), compute, asked)
                return value
            mine = Flight(digest, asked.options.tags)
            try:
                flight = self._flights.join(mine)
                if flight is mine:
                    self._core.count(misses=1)
                    return await self._alead(mine, compute, asked)
            except BaseException as error:
                self._flights.fail(mine, error)
                raise
            outcome = await flight.wait_async()
            if not outcome.abandoned and not flight.invalidated:
                self._core.count(waits=1)
                return await self._aside(self._own, digest, outcome.get())

    async def _alead(self, flight: Flight, compute: Callable[[], Any], asked: Asked) -> Any:
        flight.led_by(asyncio.current_task())
        result = await self._aside(self._stored_since, flight)
        if result is _MISSING:
            as_of = self._core.now()
            self._core.count(computations=1)
            value = compute()
            if inspect.isawaitable(value):
                value = await value
            result = await asyncio.to_thread(self._store, flight, value, asked, as_of)   # the copy may be long
        self._flights.land(flight, result)
        return result

    def _arefresh(self, flight: Flight, compute: Callable[[], Any], asked: Asked) -> None:
        async def work() -> None:
            try:
                if self._flights.join(flight) is flight:
                    await self._alead(flight, compute, asked)
            except BaseException as error:
                self._flights.fail(flight, error)
                if not isinstance(error, Exception):
                    raise
                _log.warning(_NOT_REFRESHED, exc_info=error)

        task = asyncio.ensure_future(work())
        self._refreshes.add(task)   # the event loop has only a weak reference
        task.add_done_callback(self._refreshes.discard)

    async def _aside(self, look: Callable[..., Any], *arguments: Any) -> Any:
        """Runs on another thread if a disk may be read."""
        return await asyncio.to_thread(look, *arguments) if self._core.has_disk else look(*arguments)
