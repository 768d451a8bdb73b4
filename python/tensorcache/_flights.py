"""One computation per key at a time, among threads and tasks of one process."""
from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any, Dict, Optional, Tuple

ABANDONED = object()   # the result of a computation that was interrupted: somebody who waits computes in its place


class Flight:
    __slots__ = ("digest", "forgotten", "future")

    def __init__(self, digest: Any) -> None:
        self.digest = digest
        self.forgotten = False   # the key was removed since it began: its result is not stored
        self.future: Future = Future()
        self.future.set_running_or_notify_cancel()   # whoever waits cannot cancel it for the others


class Flights:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: Dict[Any, Flight] = {}

    def join(self, digest: Any) -> Tuple[Flight, bool]:
        """The flight of a key, and whether the caller leads it: it must then land, fail or abandon it."""
        with self._lock:
            flight = self._flights.get(digest)
            if flight is not None:
                return flight, False
            flight = self._flights[digest] = Flight(digest)
            return flight, True

    def lead(self, digest: Any) -> Optional[Flight]:
        """The same where nobody flies; None otherwise."""
        flight, leads = self.join(digest)
        return flight if leads else None

    def land(self, flight: Flight, result: Any) -> None:
        self._end(flight)
        flight.future.set_result(result)

    def fail(self, flight: Flight, error: BaseException) -> None:
        """Everybody who waits gets the error. One that is no Exception (an interrupt, a cancelled task) concerns the leader alone."""
        self._end(flight)
        if isinstance(error, Exception):
            flight.future.set_exception(error)
        else:
            flight.future.set_result(ABANDONED)

    def forget(self, digest: Any) -> None:
        """What is being computed for this key is not to be stored. Whoever asks from here on begins anew."""
        with self._lock:
            flight = self._flights.pop(digest, None)
            if flight is not None:
                flight.forgotten = True

    def forget_all(self) -> None:
        with self._lock:
            for flight in self._flights.values():
                flight.forgotten = True
            self._flights.clear()

    def _end(self, flight: Flight) -> None:
        with self._lock:
            if self._flights.get(flight.digest) is flight:
                del self._flights[flight.digest]
