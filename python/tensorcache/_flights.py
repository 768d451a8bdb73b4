"""Single-flight: one computation per key at a time, among the threads and tasks of a process."""
from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any, Dict, List, NamedTuple, Optional, Sequence


class Outcome(NamedTuple):
    """The result of a computation: a value, an error for all callers, or neither (abandoned); then one of the waiters retries."""

    value: Any = None
    error: Optional[Exception] = None
    abandoned: bool = False

    def get(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


class Flight:
    """A key's computation, from before its start until all waiters have its outcome."""

    __slots__ = ("digest", "tags", "replaces", "lock", "forgotten", "invalidated", "awaited", "_thread", "_task", "_outcome")

    def __init__(self, digest: Any, tags: Sequence[str] = (), replaces: int = 0) -> None:
        self.digest = digest
        self.tags = tags
        self.replaces = replaces   # version that its result replaces; 0: nothing is stored
        self.lock = threading.Lock()   # held while the result is stored or the key is forgotten
        self.forgotten = False   # the key was removed since the start, or no caller waits: do not store the result
        self.invalidated = False   # one of its tags was invalidated since the start: only the leader gets the result
        self.awaited = False
        self._thread: Optional[int] = None
        self._task: Optional["asyncio.Task[Any]"] = None
        self._outcome: "Future[Outcome]" = Future()
        self._outcome.set_running_or_notify_cancel()   # a waiter cannot cancel it for the others

    def led_by(self, task: Optional["asyncio.Task[Any]"] = None) -> None:
        """Makes the calling thread the leader, in ``task`` if given."""
        self._thread, self._task = threading.get_ident(), task

    def forget(self) -> None:
        with self.lock:
            self.forgotten = True

    def end(self, outcome: Outcome) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    def wait(self) -> Outcome:
        if self._thread == threading.get_ident():
            raise RuntimeError("this thread is computing the key already, and would wait for itself; in a coroutine use aget_or_compute")
        return self._outcome.result()

    async def wait_async(self) -> Outcome:
        if self._thread == threading.get_ident() and self._task in (None, asyncio.current_task()):
            raise RuntimeError("this task is computing the key already, and would wait for itself")
        return await asyncio.wrap_future(self._outcome)


class Flights:
    """The flights of a cache, by key. ``family``: the flights of all caches that share its tags."""

    def __init__(self, family: "Optional[List[Flights]]" = None) -> None:
        self._lock = threading.Lock()
        self._flights: Dict[Any, Flight] = {}
        self.family: List[Flights] = [] if family is None else family
        self.family.append(self)

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, mine: Flight) -> Flight:
        """Returns ``mine`` if its key has no flight: the caller then leads, and must land it or fail it. Otherwise the flight to wait for."""
        with self._lock:
            flight = self._flights.setdefault(mine.digest, mine)
            if flight is not mine:
                flight.awaited = True
            return flight

    def land(self, flight: Flight, result: Any) -> None:
        self._end(flight)
        flight.end(Outcome(result))

    def fail(self, flight: Flight, error: BaseException) -> None:
        """Gives the error to all waiters; only the leader gets one that is not an Exception (an interrupt, a cancelled task). No effect if the
        flight has landed or was not started."""
        self._end(flight)
        flight.forget()
        shared = flight.awaited and isinstance(error, Exception)   # without waiters the error need not be kept
        flight.end(Outcome(error=error) if shared else Outcome(abandoned=True))   # type: ignore[arg-type]

    def forget(self, digest: Any) -> None:
        """Marks the running computation of this key as not to be stored; later callers start a new one."""
        with self._lock:
            flight = self._flights.pop(digest, None)
        if flight is not None:
            flight.forget()

    def forget_all(self) -> None:
        with self._lock:
            flights = list(self._flights.values())
            self._flights.clear()
        for flight in flights:
            flight.forget()

    def invalidate(self, tag: str) -> None:
        """Makes later callers start a new computation of keys whose running one has this tag."""
        for flights in list(self.family):
            with flights._lock:
                for flight in [flight for flight in flights._flights.values() if tag in flight.tags]:
                    flight.invalidated = True
                    del flights._flights[flight.digest]

    def _end(self, flight: Flight) -> None:
        with self._lock:
            if self._flights.get(flight.digest) is flight:
                del self._flights[flight.digest]
