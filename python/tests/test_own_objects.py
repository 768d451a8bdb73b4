"""Each caller gets an object of its own, also those who wait for one computation."""
import asyncio
import threading
import time
import warnings

import pytest

from tensorcache import TensorCache


def together(cache, key, compute, count=3):
    """What so many threads get that ask for one key at once."""
    barrier, results = threading.Barrier(count), [None] * count

    def ask(i):
        barrier.wait()
        results[i] = cache.get_or_compute(key, compute)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("make", [lambda: [1, 2, 3], lambda: {"a": [1]}, lambda: (1, [2]), lambda: bytearray(b"abc")])
def test_who_waits_gets_an_object_of_its_own(make):
    cache = TensorCache("16MiB")

    def compute():
        time.sleep(0.2)
        return make()

    results = together(cache, "key", compute)
    assert results == [make()] * 3
    assert len({id(result) for result in results}) == 3
    assert cache.stats()["computations"] == 1


def test_who_waits_in_asyncio_gets_an_object_of_its_own():
    cache = TensorCache("16MiB")

    async def compute():
        await asyncio.sleep(0.1)
        return [1]

    async def ask():
        return await asyncio.gather(*(cache.aget_or_compute("key", compute) for _ in range(3)))

    first, second, third = asyncio.run(ask())
    first.append(2)
    assert second == third == [1]


def test_a_key_twice_in_a_batch_gives_two_objects():
    cache = TensorCache("16MiB")
    for _ in range(2):
        first, again = cache.get_or_compute_many(["key", "key"], lambda keys: [[1] for _ in keys])
        first.append(2)
        assert again == [1]


def test_a_warning_that_is_an_error_loses_no_result():
    cache = TensorCache("16MiB")

    class Unstorable:
        pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(cache.get_or_compute("key", Unstorable), Unstorable)
