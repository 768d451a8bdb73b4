"""Whoever waits for a computation is counted apart from misses; each key that is asked for counts once."""
import asyncio
import threading
import time

import pytest

from tensorcache import CacheManager, TensorCache

CALLS, KEYS = 350, 60


def counts(cache):
    stats = cache.stats()
    return {name: stats[name] for name in ("hits", "misses", "waits", "computations")}


def test_a_burst_of_threads(cache):
    began, go = threading.Semaphore(0), threading.Event()

    def compute():
        began.release()
        assert go.wait(30)
        return "v"

    threads = [threading.Thread(target=lambda key=number % KEYS: cache.get_or_compute(key, compute)) for number in range(CALLS)]
    [thread.start() for thread in threads]
    for _ in range(KEYS):
        assert began.acquire(timeout=30)
    deadline = time.monotonic() + 30
    while sum(len(flight._outcome._condition._waiters) for flight in list(cache._flights._flights.values())) < CALLS - KEYS:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert counts(cache)["misses"] == KEYS
    go.set()
    [thread.join(30) for thread in threads]
    assert counts(cache) == {"hits": 0, "misses": KEYS, "waits": CALLS - KEYS, "computations": KEYS}
    assert cache.get_or_compute(1, lambda: 1 / 0) == "v" and counts(cache)["hits"] == 1


@pytest.mark.parametrize("disk", [False, True])
def test_a_burst_of_tasks(tmp_path, disk):
    async def compute():
        await asyncio.sleep(0.2)
        return "v"

    async def main(cache):
        await asyncio.gather(*(cache.aget_or_compute(number % KEYS, compute) for number in range(CALLS)))

    with TensorCache("64MiB", path=tmp_path if disk else None) as cache:
        asyncio.run(main(cache))
        found = counts(cache)
        assert found["misses"] == found["computations"] == KEYS and found["hits"] + found["waits"] == CALLS - KEYS
        assert disk or found["waits"] == CALLS - KEYS


def test_batches(cache):
    cache.add(0, "v")
    cache.get_or_compute_many([0, 1, 2, 1], lambda keys: ["v"] * len(keys))
    assert counts(cache) == {"hits": 1, "misses": 2, "waits": 0, "computations": 2}
    began, go = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: cache.get_or_compute(3, lambda: began.set() or go.wait(30) and "v"))
    thread.start()
    assert began.wait(30)
    threading.Timer(0.3, go.set).start()
    cache.get_or_compute_many([2, 3, 4], lambda keys: ["v"] * len(keys))
    thread.join(30)
    assert sum(counts(cache).values()) - counts(cache)["computations"] == 7 and counts(cache)["computations"] == 4


def test_failures_refreshes_and_plain_reads(cache):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            cache.get_or_compute("k", lambda: 1 / 0)
    cache.get("k"), cache.entry("k"), cache.get_many(["k", "l"])
    assert counts(cache) == {"hits": 0, "misses": 6, "waits": 0, "computations": 2}
    cache.add("k", "old", ttl=0.001, stale=60)
    time.sleep(0.01)
    assert cache.get_or_compute("k", lambda: "new") == "old"
    deadline = time.monotonic() + 10
    while cache.get("k") != "new":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert counts(cache)["computations"] == 3 and counts(cache)["misses"] == 6


def test_unreadable_values_are_misses(cache):
    cache._core.add("k", [b""], '{"r":"nobody","tree":null}', (0.0, 0.0, (), 1.0, 0))
    assert cache.get("k") is None and cache.entry("k") is None and cache.get_or_compute("k", lambda: "v") == "v" == cache.get("k")
    assert counts(cache) == {"hits": 1, "misses": 3, "waits": 0, "computations": 1}


def test_each_cache_of_a_manager_has_its_own():
    with CacheManager("8MiB") as manager:
        manager.cache("one").get_or_compute("k", lambda: "v")
        assert counts(manager.cache("one"))["computations"] == 1 and counts(manager.cache("two"))["computations"] == 0
