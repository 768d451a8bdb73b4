"""get_or_compute, memoize and the others in coroutines."""
import asyncio
import gc
import threading
import time

import numpy as np
import pytest

from tensorcache import TensorCache, memoize


def test_asyncio(cache):
    calls = []

    async def compute():
        calls.append(1)
        await asyncio.sleep(0.02)
        return np.arange(3)

    @memoize(cache, name="double")
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


def in_a_thread(work):
    def run():
        try:
            work()
        except Exception:
            pass

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_an_error_of_a_thread_reaches_a_task(cache):
    """StopIteration too, which asyncio's own futures cannot hold."""
    for error in (RuntimeError("no"), StopIteration("no")):
        go = threading.Event()

        def compute():
            go.wait(10)
            raise error

        async def main():
            thread = in_a_thread(lambda: cache.get_or_compute("k", compute))
            while not len(cache._flights):
                await asyncio.sleep(0.01)
            waiting = asyncio.ensure_future(cache.aget_or_compute("k", lambda: "v"))
            await asyncio.sleep(0.05)
            go.set()
            with pytest.raises(RuntimeError):
                await asyncio.wait_for(waiting, 5)
            thread.join()

        asyncio.run(main())


def test_who_gave_up_waiting_makes_no_noise(cache, caplog):
    go = threading.Event()

    def compute():
        go.wait(10)
        raise RuntimeError("no")

    async def main():
        thread = in_a_thread(lambda: cache.get_or_compute("k", compute))
        while not len(cache._flights):
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(cache.aget_or_compute("k", lambda: "v"), 0.05)
        go.set()
        thread.join()
        await asyncio.sleep(0.05)
        gc.collect()

    asyncio.run(main())
    assert not caplog.records


def test_who_would_wait_for_itself_is_told(cache):
    async def main():
        with pytest.raises(RuntimeError, match="wait for itself"):
            await cache.aget_or_compute("k", lambda: cache.aget_or_compute("k", lambda: "v"))
        with pytest.raises(RuntimeError, match="wait for itself"):
            await cache.aget_or_compute("k", lambda: cache.get_or_compute("k", lambda: "v"))

    asyncio.run(main())


def test_the_loop_goes_on_while_a_large_value_is_stored():
    with TensorCache("600MiB") as cache:
        value = np.zeros(256 << 20, np.uint8)
        gaps = []

        async def tick():
            last = time.perf_counter()
            while True:
                await asyncio.sleep(0)
                gaps.append(time.perf_counter() - last)
                last = time.perf_counter()

        async def main():
            ticking = asyncio.ensure_future(tick())
            begin = time.perf_counter()
            await cache.aget_or_compute("k", lambda: value)
            took = time.perf_counter() - begin
            ticking.cancel()
            assert max(gaps) < took / 2, (max(gaps), took)

        asyncio.run(main())


def test_on_disk(tmp_path):
    async def compute():
        return "v"

    async def main(cache):
        assert await cache.aget_or_compute("k", compute) == "v"
        assert await cache.aget("k") == "v" and await cache.aget("other", 5) == 5

    for _ in range(2):
        with TensorCache("8MiB", path=tmp_path) as cache:
            asyncio.run(main(cache))


def test_a_loop_that_ends_before_a_refresh_leaves_nothing_behind(cache):
    cache.add("k", "old", ttl=0.01, stale=60)
    time.sleep(0.02)

    async def slow():
        await asyncio.sleep(60)

    assert asyncio.run(cache.aget_or_compute("k", slow)) == "old"
    assert len(cache._flights) == 0
