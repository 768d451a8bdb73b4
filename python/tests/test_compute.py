"""get_or_compute and its batches."""
import _thread
import asyncio
import gc
import linecache
import logging
import signal
import sys
import threading
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import tensorcache
from tensorcache import TensorCache


def in_threads(count, work):
    results, threads = [], []

    def run():
        try:
            results.append(work())
        except BaseException as error:
            results.append(error)

    for _ in range(count):
        threads.append(threading.Thread(target=run))
        threads[-1].start()
    return results, threads


def join(threads):
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_one_computes_and_all_get_it(cache):
    calls = []

    def compute():
        calls.append(1)
        time.sleep(0.05)
        return np.arange(5)

    results, threads = in_threads(8, lambda: cache.get_or_compute("k", compute))
    join(threads)
    assert len(calls) == 1 and len(results) == 8
    for result in results:
        np.testing.assert_array_equal(result, np.arange(5))
        assert not result.flags.writeable


def test_an_exception_reaches_everybody_and_nothing_is_stored(cache):
    started, go = threading.Event(), threading.Event()
    calls = []

    def compute():
        calls.append(1)
        started.set()
        go.wait(10)
        raise RuntimeError("no model")

    results, threads = in_threads(1, lambda: cache.get_or_compute("k", compute))
    started.wait(10)
    (flight,) = cache._flights._flights.values()
    more, others = in_threads(4, lambda: cache.get_or_compute("k", compute))
    until(lambda: len(flight._outcome._condition._waiters) == 4)
    go.set()
    join(threads + others)
    assert [str(error) for error in results + more] == ["no model"] * 5
    assert len(calls) == 1 and "k" not in cache
    assert cache.get_or_compute("k", lambda: "v") == "v"


class Result:
    """A type of the program's own."""


def test_a_computed_value_that_cannot_be_stored_is_not_lost(cache):
    computed = Result()
    with pytest.warns(RuntimeWarning, match="Result"):
        assert cache.get_or_compute("k", lambda: computed) is computed
    with warnings.catch_warnings():   # once for a type
        warnings.simplefilter("error")
        assert cache.get_or_compute("k", lambda: computed) is computed
        assert cache.get_or_compute_many(["a", "b"], lambda keys: [computed, "b"]) == [computed, "b"]
        assert asyncio.run(cache.aget_or_compute("k", lambda: computed)) is computed
    assert len(cache) == 1 and cache.get("b") == "b"
    with pytest.raises(TypeError, match="Result"):   # what is added is the caller's to choose
        cache.add("k", computed)


def test_keyboard_interrupt_hands_over(cache):
    started = threading.Event()
    results = []

    def interrupted():
        started.set()
        for _ in range(1000):
            time.sleep(0.01)

    def interrupt():
        started.wait(10)
        waiting, threads = in_threads(2, lambda: cache.get_or_compute("k", lambda: "from another"))
        time.sleep(0.1)
        _thread.interrupt_main()
        join(threads)
        results.extend(waiting)

    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        cache.get_or_compute("k", interrupted)
    helper.join(20)
    assert results == ["from another"] * 2


def test_who_waits_hears_keyboard_interrupt(cache):
    go = threading.Event()
    results, threads = in_threads(1, lambda: cache.get_or_compute("k", lambda: go.wait(10) and "v"))
    until(lambda: len(cache._flights))
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            cache.get_or_compute("k", lambda: "mine")
    finally:
        signal.signal(signal.SIGALRM, previous)
    go.set()
    join(threads)
    assert results == ["v"]


def test_a_stale_value_at_once_and_one_refresh(cache):
    calls, go = [], threading.Event()

    def compute():
        calls.append(1)
        if len(calls) > 1:
            go.wait(10)
        return len(calls)

    options = {"ttl": 0.05, "stale": 60}
    assert cache.get_or_compute("k", compute, **options) == 1
    time.sleep(0.06)
    for _ in range(5):
        assert cache.get_or_compute("k", compute, **options) == 1
    go.set()
    until(lambda: cache.get("k") == 2)
    assert len(calls) == 2


def test_a_failed_refresh_leaves_the_stale_value(cache):
    cache.add("k", "old", ttl=0.01, stale=60)
    time.sleep(0.02)
    assert cache.get_or_compute("k", lambda: 1 / 0, ttl=0.01, stale=60) == "old"
    until(lambda: not len(cache._flights))
    assert cache.get("k") == "old"


def test_nothing_by_choice(cache):
    calls = []
    for _ in range(2):
        assert cache.get_or_compute("k", lambda: calls.append(1)) is None
    assert len(calls) == 2
    for _ in range(3):
        assert cache.get_or_compute("k", lambda: calls.append(1), negative_ttl=60) is None
    assert len(calls) == 3


def test_what_is_forgotten_meanwhile_is_not_stored(cache):
    for meanwhile in (lambda: cache.remove("k"), cache.clear, lambda: cache.invalidate("t")):
        assert cache.get_or_compute("k", lambda: meanwhile() and None or "v", tags=["t"]) == "v"
        assert "k" not in cache
    assert cache.get_or_compute("k", lambda: cache.add("k", "newer") and "mine") == "newer"
    cache.clear()
    assert cache.get_or_compute("k", lambda: cache.add("k", "newer") and None, negative_ttl=60) == "newer"


@pytest.mark.parametrize("named", [False, True])
def test_whoever_asks_after_an_invalidation_does_not_get_what_began_before(named):
    with tensorcache.CacheManager("64MiB") as manager:
        cache = manager.cache("other") if named else manager.cache("")
        began, go_on = threading.Event(), threading.Event()

        def old():
            began.set()
            assert go_on.wait(20)
            return "old"

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(cache.get_or_compute, "k", old, tags=["t"])
            assert began.wait(20)
            waits = pool.submit(cache.get_or_compute, "k", lambda: "new", tags=["t"])
            until(lambda: next(iter(cache._flights._flights.values())).awaited)
            manager.invalidate("t")
            assert cache.get_or_compute("k", lambda: "newest", tags=["t"]) == "newest"
            go_on.set()
            assert waits.result(20) == "newest" and first.result(20) in ("old", "newest")
        assert cache.get("k") == "newest"


def test_a_value_too_large_is_returned_all_the_same(cache):
    assert cache.get_or_compute("k", lambda: np.zeros(100 << 20, np.uint8)).nbytes == 100 << 20
    assert "k" not in cache and cache.stats()["rejected_writes"] == 1


def test_many_at_once(cache):
    cache.add("b", "B")
    asked = []

    def compute(keys):
        asked.append(keys)
        return [key.upper() for key in keys]

    for _ in range(2):
        assert cache.get_or_compute_many(["a", "b", "c", "a"], compute) == ["A", "B", "C", "A"]
    assert asked == [["a", "c"]]
    with pytest.raises(ValueError, match="returned 0 values"):
        cache.get_or_compute_many(["z"], lambda keys: [])
    assert cache.get_or_compute("z", lambda: "Z") == "Z"


def test_overlapping_batches_do_not_lock(cache):
    computed = []

    def compute(keys):
        computed.extend(keys)
        time.sleep(0.005)
        return [key + 1 for key in keys]

    orders = [list(range(50)), list(range(49, -1, -1))] * 2
    results, threads = in_threads(4, lambda: cache.get_or_compute_many(orders.pop(), compute))
    join(threads)
    assert len(results) == 4 and all(sorted(result) == list(range(1, 51)) for result in results)
    assert sorted(computed) == list(range(50))


def test_what_goes_wrong_in_a_batch_leaves_nothing_behind(tmp_path):
    with TensorCache("8MiB", path=tmp_path, allow_pickle=True) as cache:
        cache.add("pickled", object)
    with TensorCache("8MiB", path=tmp_path) as cache:
        with pytest.raises(ValueError, match="allow_pickle"):
            cache.get_or_compute_many(["a", "pickled"], lambda keys: ["x"] * len(keys))
        results, threads = in_threads(1, lambda: cache.get_or_compute("a", lambda: "v"))
        join(threads)
        assert results == ["v"]


def test_a_batch_knows_of_nothing_and_of_stale_values(cache):
    cache.add_nothing("nothing", ttl=60)
    cache.add("one", "old", ttl=0.01, stale=60)
    cache.add("two", "old", ttl=0.01, stale=60)
    time.sleep(0.02)
    asked = []

    def compute(keys):
        asked.append(keys)
        return [None if key == "never" else "new" for key in keys]

    for _ in range(2):
        assert cache.get_or_compute_many(["nothing", "one", "two", "never"], compute, negative_ttl=60)[::3] == [None, None]
        until(lambda: cache.get_many(["one", "two"]) == ["new", "new"])
    assert sorted(asked) == [["never"], ["one", "two"]], "stale ones are refreshed together"


def test_who_would_wait_for_itself_is_told(cache):
    with pytest.raises(RuntimeError, match="wait for itself"):
        cache.get_or_compute("k", lambda: cache.get_or_compute("k", lambda: "v"))
    assert cache.get_or_compute("k", lambda: cache.get_or_compute("other", lambda: "v")) == "v"


def test_an_interrupt_anywhere_leaves_nothing_behind(cache):
    """KeyboardInterrupt comes at each line of the package in turn; afterwards the key can be computed by another thread."""
    folder = str(Path(tensorcache.__file__).parent)

    def interrupted_at(number):
        left = [number]

        def trace(frame, event, _):
            if not frame.f_code.co_filename.startswith(folder):
                return None
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            if event == "line" and not line.lstrip().startswith("with "):   # Python hears no signal between a body's end and its lock's release
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            if number % 2:
                cache.get_or_compute("k", lambda: "v")
            else:
                cache.get_or_compute_many(["k", "l"], lambda keys: ["v"] * len(keys))
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False

    points = 0
    for number in range(1, 1000):
        cache.clear()
        if not interrupted_at(number):
            break
        points += 1
        results, threads = in_threads(1, lambda: cache.get_or_compute_many(["k", "l"], lambda keys: ["v"] * len(keys)))
        join(threads)
        assert results == [["v", "v"]] and len(cache._flights) == 0, number
    assert points > 50


def test_a_refresh_that_fails_or_cannot_start_is_logged(cache, caplog, monkeypatch):
    cache.add("k", "old", ttl=0.01, stale=60)
    time.sleep(0.02)
    with caplog.at_level(logging.WARNING, "tensorcache"):
        assert cache.get_or_compute("k", lambda: 1 / 0) == "old"
        until(lambda: len(caplog.records) == 1 and len(cache._flights) == 0)
        assert caplog.records[0].exc_info[0] is ZeroDivisionError

        def no_thread(self):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", no_thread)
        assert cache.get_or_compute("k", lambda: "new") == "old"
        monkeypatch.undo()
    assert len(caplog.records) == 2
    assert cache.get_or_compute("k", lambda: "new") == "old"
    until(lambda: cache.get("k") == "new")


def test_closing_meanwhile_loses_no_result():
    cache = TensorCache("8MiB")
    assert cache.get_or_compute("k", lambda: "v" if cache.close() else "closing failed") == "v"
    with pytest.raises(ValueError, match="closed"):
        cache.get_or_compute("k", lambda: "v")


def test_a_failed_computation_keeps_nothing_alive(cache):
    class Big:
        pass

    seen = []

    def compute():
        big = Big()
        seen.append(weakref.ref(big))
        raise RuntimeError

    gc.disable()
    try:
        with pytest.raises(RuntimeError):
            cache.get_or_compute("k", compute)
        assert seen[0]() is None
    finally:
        gc.enable()


def test_removing_one_key_does_not_wait_for_another_to_be_stored(cache):
    with cache._flights.join(tensorcache._compute.Flight("another")).lock:
        results, threads = in_threads(1, lambda: cache.remove("k"))
        join(threads)
    assert results == [False]


def test_where_all_is_held_results_are_returned_all_the_same():
    with TensorCache("4MiB") as cache:
        held = []
        with pytest.raises(MemoryError):
            for number in range(100):
                cache.add(number, np.full(100_000, number, np.uint8))
                held.append(cache.get(number))
        for number in range(100, 3000):
            assert cache.get_or_compute(number, lambda: None, negative_ttl=60) is None
        assert cache.get_or_compute("k", lambda: np.zeros(100_000, np.uint8)).nbytes == 100_000
