"""What a TensorCache computes: get_or_compute, its batches, and the same for asyncio."""
from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from . import _core, _values
from ._flights import ABANDONED, Flight, Flights


class Computing:
    """The half of TensorCache that computes. What it uses is set up there."""

    _core: Any
    _build: Callable[..., Any]
    _flights: Flights
    _forgetting: "threading.Lock"
    _tasks: set
    _on_disk: bool
    _allow_pickle: bool
    get: Callable[..., Any]
    add: Callable[..., int]
    remove: Callable[..., bool]
    _options: Callable[..., Tuple]

    def get_or_compute(self, key: Any, compute: Callable[[], Any], *, negative_ttl: float = 0.0, **options: Any) -> Any:
        """What is stored, or what ``compute()`` returns, which is then stored with ``options`` (see ``add``).

        However many threads ask, one computes and the others wait for it. An exception reaches all of them and nothing is stored; after a
        KeyboardInterrupt one of those who wait computes in its place. A stale value is returned at once while one thread refreshes it. None is
        "there is nothing", remembered for ``negative_ttl`` seconds. A value too large for the cache is returned all the same. ``compute`` must not ask
        for its own key here.
        """
        digest = _core.digest(key)
        chosen = self._options(**options)
        while True:
            hit = self._core.lookup(digest, True)
            if hit is not None:
                if hit.stale:
                    self._refresh(digest, compute, hit.version, chosen, negative_ttl)
                return None if hit.negative else hit.value(self._build)
            flight, leads = self._flights.join(digest)
            if leads:
                return self._lead(flight, compute, 0, chosen, negative_ttl)
            result = flight.future.result()
            if result is not ABANDONED:
                return result

    def _lead(self, flight: Flight, compute: Callable[[], Any], replaces: int, options: Tuple, negative_ttl: float) -> Any:
        try:
            stored = self._core.lookup(flight.digest, False) if replaces == 0 else None   # since this caller's miss
            if stored is not None:
                result = None if stored.negative else stored.value(self._build)
            else:
                as_of = self._core.now()
                result = self._store(flight, compute(), replaces, (*options[:4], as_of), negative_ttl)
        except BaseException as error:
            self._flights.fail(flight, error)
            raise
        self._flights.land(flight, result)
        return result

    def _store(self, flight: Flight, value: Any, replaces: int, options: Tuple, negative_ttl: float) -> Any:
        """Stores what was computed, unless the key was written or removed meanwhile; the value as all get it."""
        if value is None:
            with self._forgetting:
                if negative_ttl and not flight.forgotten:
                    self._core.add_negative(flight.digest, (negative_ttl, 0.0, options[2], options[3], options[4]))
            return None
        parts, structure = _values.flatten(value, self._allow_pickle)
        with self._forgetting:
            if flight.forgotten:
                return value
            try:
                self._core.put_if_version(flight.digest, replaces, parts, structure, options)
            except (ValueError, MemoryError):   # no room for it; counted in stats()["rejected_writes"]
                return value
        stored = self._core.lookup(flight.digest, False)
        return value if stored is None or stored.negative else stored.value(self._build)

    def _refresh(self, digest: Any, compute: Callable[[], Any], version: int, options: Tuple, negative_ttl: float) -> None:
        flight = self._flights.lead(digest)
        if flight is None:
            return

        def work() -> None:
            try:
                self._lead(flight, compute, version, options, negative_ttl)
            except BaseException:   # the stale value goes on being served; the next who meets it tries again
                pass

        threading.Thread(target=work, name="tensorcache-refresh", daemon=True).start()

    def get_many(self, keys: Iterable[Any]) -> List[Any]:
        """``get`` for each key, in their order; None where there is nothing."""
        return [self._core.get(key, self._build, None) for key in keys]

    def add_many(self, items: Union[Mapping[Any, Any], Iterable[Tuple[Any, Any]]], **options: Any) -> None:
        """``add`` for each (key, value)."""
        for key, value in items.items() if isinstance(items, Mapping) else items:
            self.add(key, value, **options)

    def get_or_compute_many(self, keys: Iterable[Any], compute: Callable[[List[Any]], Sequence[Any]], **options: Any) -> List[Any]:
        """The values of ``keys`` in their order. ``compute`` gets the list of those that are missing and that nobody else computes, and returns as
        many values; it is called once, or again for keys that another thread failed to compute."""
        keys = list(keys)
        chosen = self._options(**options)
        found: Dict[Any, Any] = {}
        led: Dict[Any, Tuple[Any, Flight]] = {}
        waiting: Dict[Any, Any] = {}
        digests = [_core.digest(key) for key in keys]
        for digest, key in zip(digests, keys):
            if digest in found or digest in led or digest in waiting:
                continue
            hit = self._core.lookup(digest, True)
            if hit is not None and not hit.negative:
                found[digest] = hit.value(self._build)
                continue
            flight = self._flights.lead(digest)
            if flight is None:
                waiting[digest] = key
            else:
                led[digest] = (key, flight)
        if led:   # before waiting for others, so that two batches never wait for each other
            found.update(self._lead_many(led, compute, chosen))
        for digest, key in waiting.items():
            found[digest] = self.get_or_compute(key, lambda key=key: compute([key])[0], **options)
        return [found[digest] for digest in digests]

    def _lead_many(self, led: Dict[Any, Tuple[Any, Flight]], compute: Callable[[List[Any]], Sequence[Any]], options: Tuple) -> Dict[Any, Any]:
        results: Dict[Any, Any] = {}
        try:
            for digest in led:   # stored since this caller's miss
                stored = self._core.lookup(digest, False)
                if stored is not None and not stored.negative:
                    results[digest] = stored.value(self._build)
            missing = [digest for digest in led if digest not in results]
            as_of = self._core.now()
            values = compute([led[digest][0] for digest in missing]) if missing else []
            if len(values) != len(missing):
                raise ValueError(f"compute was given {len(missing)} keys and returned {len(values)} values")
            for digest, value in zip(missing, values):
                results[digest] = self._store(led[digest][1], value, 0, (*options[:4], as_of), 0.0)
        except BaseException as error:
            for _, flight in led.values():
                self._flights.fail(flight, error)
            raise
        for digest, (_, flight) in led.items():
            self._flights.land(flight, results[digest])
        return results

    # For asyncio: the same, without ever keeping the event loop waiting.

    async def aget(self, key: Any, default: Any = None) -> Any:
        """``get``; a disk is read on another thread."""
        return await asyncio.to_thread(self.get, key, default) if self._on_disk else self.get(key, default)

    async def aadd(self, key: Any, value: Any, **options: Any) -> int:
        """``add`` on another thread, as the copy may be long."""
        return await asyncio.to_thread(functools.partial(self.add, key, value, **options))

    async def aremove(self, key: Any) -> bool:
        """``remove`` on another thread."""
        return await asyncio.to_thread(self.remove, key)

    async def aget_or_compute(self, key: Any, compute: Callable[[], Any], *, negative_ttl: float = 0.0, **options: Any) -> Any:
        """``get_or_compute`` for a coroutine function (or a plain one, which then runs in the event loop). One computation a key among all tasks and
        threads; if the task that computes is cancelled, another that waits computes in its place."""
        digest = _core.digest(key)
        chosen = self._options(**options)
        while True:
            hit = await asyncio.to_thread(self._core.lookup, digest, True) if self._on_disk else self._core.lookup(digest, True)
            if hit is not None:
                if hit.stale:
                    self._arefresh(digest, compute, hit.version, chosen, negative_ttl)
                return None if hit.negative else hit.value(self._build)
            flight, leads = self._flights.join(digest)
            if leads:
                return await self._alead(flight, compute, 0, chosen, negative_ttl)
            result = await asyncio.shield(asyncio.wrap_future(flight.future))
            if result is not ABANDONED:
                return result

    async def _alead(self, flight: Flight, compute: Callable[[], Any], replaces: int, options: Tuple, negative_ttl: float) -> Any:
        try:
            stored = self._core.lookup(flight.digest, False) if replaces == 0 else None   # since this caller's miss
            if stored is not None:
                result = None if stored.negative else stored.value(self._build)
            else:
                as_of = self._core.now()
                value = compute()
                if inspect.isawaitable(value):
                    value = await value
                result = self._store(flight, value, replaces, (*options[:4], as_of), negative_ttl)
        except BaseException as error:
            self._flights.fail(flight, error)
            raise
        self._flights.land(flight, result)
        return result

    def _arefresh(self, digest: Any, compute: Callable[[], Any], version: int, options: Tuple, negative_ttl: float) -> None:
        flight = self._flights.lead(digest)
        if flight is None:
            return
        task = asyncio.ensure_future(self._alead(flight, compute, version, options, negative_ttl))
        self._tasks.add(task)

        def done(finished: "asyncio.Task[Any]") -> None:
            self._tasks.discard(finished)
            if not finished.cancelled():
                finished.exception()   # looked at: a failed refresh leaves the stale value

        task.add_done_callback(done)
