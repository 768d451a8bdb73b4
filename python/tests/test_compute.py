"""get_or_compute, memoize and their asyncio forms."""
import _thread
import asyncio
import signal
import threading
import time

import numpy as np
import pytest

from tensorcache import memoize


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
    until(lambda: len(flight.future._condition._waiters) == 4)
    go.set()
    join(threads + others)
    assert [str(error) for error in results + more] == ["no model"] * 5
    assert len(calls) == 1 and "k" not in cache
    assert cache.get_or_compute("k", lambda: "v") == "v"


def test_a_value_that_cannot_be_stored_is_an_exception_too(cache):
    with pytest.raises(TypeError, match="tuple"):
        cache.get_or_compute("k", lambda: [1, 2])
    assert len(cache) == 0


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
    until(lambda: cache._flights._flights)
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
    until(lambda: not cache._flights._flights)
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


def test_memoize(cache):
    calls = []

    @memoize(cache, ttl=60)
    def area(width, height=2):
        """Docs stay."""
        calls.append((width, height))
        return width * height

    @memoize(cache)
    def other(width, height=2):
        return "another function"

    assert [area(3), area(3), area(3, height=4), area(3, height=4)] == [6, 6, 12, 12]
    assert calls == [(3, 2), (3, 4)] and area.__doc__ == "Docs stay."
    assert other(3) == "another function"
    assert area.forget(3) is True and area(3) == 6 and len(calls) == 3
    assert cache.get(area.cache_key(3)) == 6


def test_memoize_with_a_key(cache):
    class Model:
        calls = 0

        @memoize(cache, key=lambda self, tokens: tuple(tokens))
        def run(self, tokens):
            Model.calls += 1
            return sum(tokens)

        @memoize(cache)
        def wrong(self, tokens):
            return 0

    assert [Model().run([1, 2]), Model().run([1, 2])] == [3, 3] and Model.calls == 1
    with pytest.raises(TypeError, match=r"memoize\(key=\.\.\.\)"):
        Model().wrong([1])


def test_asyncio(cache):
    calls = []

    async def compute():
        calls.append(1)
        await asyncio.sleep(0.02)
        return np.arange(3)

    @memoize(cache)
    async def double(number):
        calls.append(number)
        await asyncio.sleep(0.01)
        return 2 * number

    async def main():
        results = await asyncio.gather(*(cache.aget_or_compute("k", compute) for _ in range(10)))
        assert len(calls) == 1 and all((result == np.arange(3)).all() for result in results)
        assert await asyncio.gather(double(4), double(4), double(5)) == [8, 8, 10]
        assert sorted(calls) == [1, 4, 5]
        await cache.aadd("x", "y")
        assert await cache.aget("x") == "y"
        assert await cache.aremove("x") and await cache.aget("x", 0) == 0

    asyncio.run(main())


def test_asyncio_failures_and_cancelling(cache):
    async def failing():
        await asyncio.sleep(0.02)
        raise RuntimeError("no")

    async def slow(value):
        await asyncio.sleep(10 if value == "first" else 0.2)
        return value

    async def main():
        results = await asyncio.gather(*(cache.aget_or_compute("k", failing) for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in results] == ["no"] * 3 and "k" not in cache
        leader = asyncio.ensure_future(cache.aget_or_compute("k", lambda: slow("first")))
        await asyncio.sleep(0.02)
        followers = [asyncio.ensure_future(cache.aget_or_compute("k", lambda: slow("second"))) for _ in range(3)]
        await asyncio.sleep(0.02)
        followers[0].cancel()   # of those who wait, alone
        leader.cancel()
        assert await asyncio.gather(*followers[1:]) == ["second"] * 2
        with pytest.raises(asyncio.CancelledError):
            await leader

    asyncio.run(main())


def test_asyncio_refresh(cache):
    async def main():
        cache.add("k", "old", ttl=0.01, stale=60)
        await asyncio.sleep(0.02)

        async def compute():
            await asyncio.sleep(0.01)
            return "new"

        assert await cache.aget_or_compute("k", compute, ttl=60, stale=60) == "old"
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if cache.get("k") == "new":
                break
        else:
            pytest.fail("it was not refreshed")
        cache.add("k", "old", ttl=0.01, stale=60)
        await asyncio.sleep(0.02)
        assert await cache.aget_or_compute("k", lambda: 1 / 0) == "old"
        await asyncio.sleep(0.02)

    asyncio.run(main())
