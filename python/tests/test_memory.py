"""What Python takes and gives back."""
import gc
import os
import sys

import numpy as np
import pytest

from tensorcache import TensorCache

PAGE = os.sysconf("SC_PAGE_SIZE")
LARGE = np.zeros(4 << 20, np.uint8)


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE


def composed(cache, number):
    cache.add(("k", number % 50), {"a": (np.arange(20), "text"), "b": number})
    cache.get(("k", number % 50))["a"][0].sum()


def small(cache, number):
    cache.add((number % 50, 1, 2), b"0123456789")
    cache.get((number % 50, 1, 2))


def large(cache, number):
    cache.add(number % 3, LARGE)
    cache.get(number % 3).sum()


def computed(cache, number):
    cache.get_or_compute(number, lambda: np.arange(10))
    cache.remove(number)


def refused(cache, number):
    for key, value in (([1], "v"), ("k", object()), ("k", np.array([None]))):
        try:
            cache.add(key, value)
        except TypeError:
            pass


def failed(cache, number):
    try:
        cache.get_or_compute("k", lambda: 1 / 0)
    except ZeroDivisionError:
        pass


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
@pytest.mark.parametrize("work, times", [(small, 40_000), (composed, 10_000), (large, 300), (computed, 10_000), (refused, 5_000), (failed, 5_000)])
def test_nothing_leaks(work, times):
    with TensorCache("32MiB") as cache:
        for number in range(times):   # whatever is made once
            work(cache, number)
        gc.collect()
        before, blocks = resident(), sys.getallocatedblocks()
        for number in range(times):
            work(cache, number)
        gc.collect()
        assert sys.getallocatedblocks() - blocks < 500
        assert resident() - before < 4 << 20
