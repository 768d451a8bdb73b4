"""The classic interface, and what there is beyond it."""
import gc
import threading
import time

import numpy as np
import pytest

import tensorcache
from tensorcache import CacheManager, TensorCache


def test_the_classic_interface_to_the_letter():
    from tensorcache.python.tensorcache import CacheManager as ClassicManager, TensorCache as Classic
    for made in (Classic(cache_size=1024), ClassicManager(cache_size=1024), Classic(cache_size="2GiB")):
        key, value = tuple([101, 7592, 102]), np.array([[3, 1, 2]])
        assert made.get(key) is None
        made.add(key, value)
        np.testing.assert_array_equal(made.get(key), value)
        made.remove(key)
        assert made.get(key) is None
        made.add(key, value)
        made.clear()
        assert made.get(key) is None
        made.close()


def test_a_number_of_entries_is_the_limit():
    with TensorCache(cache_size=3) as cache:
        for key in "abc":
            cache.add(key, key)
        cache.get("a")
        cache.add("d", "d")
        assert len(cache) == 3 and "b" not in cache and "a" in cache
        cache.resize(1)
        assert len(cache) == 1
        cache.resize(10)
        for key in "efghi":
            cache.add(key, key)
        assert len(cache) == 6


def test_a_size_in_bytes_is_the_limit():
    with TensorCache("4MiB") as cache:
        for number in range(100):
            cache.add(number, np.zeros(100_000, np.uint8))
        stats = cache.stats()
        assert 10 < len(cache) < 42 and stats["peak_bytes"] <= stats["capacity_bytes"] == 4 << 20
        assert stats["evictions"] >= 58
        cache.resize("1MiB")
        assert cache.stats()["used_bytes"] <= 1 << 20


@pytest.mark.parametrize("size", [0, -1, 1.5, None, True, "lots", "", "12 parsecs"])
def test_wrong_sizes_are_named(size):
    with pytest.raises(ValueError):
        TensorCache(size)


def test_wrong_options_are_named(tmp_path):
    with pytest.raises(ValueError, match="clairvoyant"):
        TensorCache(policy="clairvoyant")
    with pytest.raises(ValueError, match="leave memory out"):
        TensorCache("1GiB", memory="2GiB")
    with TensorCache() as cache:
        for options in ({"ttl": 0}, {"ttl": -1}, {"ttl": float("nan")}, {"stale": 5}):
            with pytest.raises(ValueError):
                cache.add("k", "v", **options)
        with pytest.raises(TypeError, match="several strings"):
            cache.add("k", "v", tags="red")
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(RuntimeError, match="file"):
        TensorCache(path=file)


@pytest.mark.parametrize("policy", ["lru", "lfu", "gdsf", "s3fifo", "sieve", "adaptive"])
def test_policies_by_name(policy):
    with TensorCache("2MiB", policy=policy) as cache:
        for number in range(200):
            cache.add(number, np.zeros(50_000, np.uint8), cost=number)
            cache.get(number // 2)
        assert cache.stats()["evictions"] > 100 and policy in repr(cache)


def test_len_in_stats_repr(cache):
    assert len(cache) == 0 and cache, "an empty cache is true"
    cache.add("k", "v")
    assert "k" in cache and "other" not in cache and len(cache) == 1
    cache.get("k"), cache.get("other")
    stats = cache.stats()
    assert (stats["hits"], stats["misses"], stats["entries"], stats["writes"]) == (1, 1, 1, 1)
    assert repr(cache).startswith("<TensorCache 1 entries, ") and "1 hits, 1 misses, policy lru" in repr(cache)


def test_ttl_and_stale(cache):
    cache.add("fresh", "v", ttl=60, stale=60)
    assert not cache.entry("fresh").stale
    cache.add("short", "v", ttl=0.05)
    cache.add("long", "v", ttl=0.05, stale=60)
    time.sleep(0.06)
    assert cache.get("short") is None
    assert cache.get("long") == "v" and cache.entry("long").stale
    with TensorCache("8MiB", ttl=0.05) as other:
        other.add("k", "v")
        time.sleep(0.06)
        assert "k" not in other


def test_tags(cache):
    cache.add("a", "1", tags=["red", "big"])
    cache.add("b", "2", tags=("red",))
    cache.add("c", "3")
    assert cache.invalidate("big") is True
    assert cache.get_many("abc") == [None, "2", "3"]
    cache.invalidate("red")
    assert cache.get_many("abc") == [None, None, "3"]


def test_nothing_can_be_remembered(cache):
    cache.add_nothing("k", ttl=60)
    assert cache.get("k", "default") == "default" and "k" not in cache and cache.entry("k").nothing
    assert cache.get_or_compute("k", lambda: pytest.fail("it is known that there is nothing")) is None
    cache.add_nothing("k", ttl=0.05)
    time.sleep(0.06)
    assert cache.entry("k") is None


def test_versions(cache):
    first = cache.put_if_version("k", 0, "1")
    assert first and cache.put_if_version("k", 0, "x") is None
    second = cache.put_if_version("k", first, "2")
    assert second > first and cache.entry("k").version == second
    assert cache.put_if_version("k", first, "x") is None and cache.get("k") == "2"


def test_optimistic_counting_loses_nothing(cache):
    def count():
        for _ in range(50):
            while True:
                entry = cache.entry("n")
                if cache.put_if_version("n", entry.version if entry else 0, (entry.value if entry else 0) + 1):
                    break
    threads = [threading.Thread(target=count) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert cache.get("n") == 200


def test_leases(cache):
    with cache.lease("k") as lease:
        assert lease.held()
        with pytest.raises(TimeoutError):
            cache.lease("k", timeout=0.02)
        lease.add({"a": np.arange(3)})
    assert not lease.held() and cache.get("k")["a"][2] == 2
    short = cache.lease("k", hold=0.02)
    time.sleep(0.03)
    with pytest.raises(TimeoutError, match="ran out"):
        short.add("late")
    with cache.lease("k", timeout=0):
        pass


def test_pessimistic_counting_loses_nothing(cache):
    def count():
        for _ in range(50):
            with cache.lease("n") as lease:
                lease.add((cache.get("n") or 0) + 1)
    threads = [threading.Thread(target=count) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert cache.get("n") == 200


def test_many(cache):
    cache.add_many({"a": "1", "b": "2"})
    cache.add_many([("c", "3")], ttl=60)
    assert cache.get_many(["a", "x", "c"]) == ["1", None, "3"]


def test_a_manager_keeps_names_apart_under_one_budget():
    with CacheManager("8MiB") as manager:
        one, two = manager.cache("one"), manager.cache("two", cache_size=2)
        assert manager.cache("one") is one
        one.add("k", "1")
        assert two.get("k") is None and manager.get("k") is None
        for key in "abc":
            two.add(key, key)
        assert len(two) == 2 and len(one) == 1
        assert manager.names() == ["", "one", "two"] and set(manager.stats()) == {"", "one", "two"}
        for number in range(200):
            manager.add(number, np.zeros(100_000, np.uint8))
        assert "k" not in one, "it was the least recently used of all"
        assert one.stats()["used_bytes"] <= 8 << 20
        manager.clear()
        assert len(manager) == 0
    with pytest.raises(ValueError, match="closed"):
        one.get("k")


def test_use_after_close():
    with TensorCache() as cache:
        cache.add("k", "v")
    cache.close()
    assert cache.closed and "closed" in repr(cache)
    for use in (lambda: cache.get("k"), lambda: cache.add("k", "v"), lambda: cache.remove("k"), cache.clear, lambda: len(cache), cache.stats,
                lambda: "k" in cache, lambda: cache.get_or_compute("k", lambda: "v"), lambda: cache.invalidate("t"), cache.flush):
        with pytest.raises(ValueError, match="the cache is closed"):
            use()


def test_closing_while_others_use_it():
    for _ in range(20):
        cache = TensorCache("8MiB")
        cache.add("k", np.arange(1000))
        stopped = []

        def use():
            try:
                while True:
                    cache.add("k", np.arange(20_000))
                    assert cache.get("k")[5] == 5
            except ValueError as error:
                stopped.append(str(error))

        threads = [threading.Thread(target=use) for _ in range(3)]
        [thread.start() for thread in threads]
        time.sleep(0.002)
        cache.close()
        [thread.join() for thread in threads]
        assert stopped == ["the cache is closed"] * 3


def test_nothing_is_kept_alive_by_mistake():
    cache = TensorCache("64MiB")
    for number in range(300):
        cache.add("k", {"a": np.zeros(1 << 20, np.uint8)})
        cache.get("k")
    gc.collect()
    assert cache.stats()["used_bytes"] < 8 << 20


def test_the_version_is_the_packages():
    assert tensorcache.__version__.count(".") == 2


def test_with_a_closed_cache_says_so_at_once():
    for made in (TensorCache("8MiB"), CacheManager("8MiB")):
        with made:
            pass
        with pytest.raises(ValueError, match="closed"):
            with made:
                pytest.fail("it is closed")


def test_a_closed_cache_has_let_go_of_its_path(tmp_path):
    """Whatever other threads were doing in it."""
    value = np.zeros(1 << 20, np.uint8)
    for _ in range(20):
        cache = TensorCache("8MiB", path=tmp_path)

        def use():
            try:
                while True:
                    cache.add("k", value)
                    cache.get("k")
            except ValueError:
                pass

        threads = [threading.Thread(target=use) for _ in range(3)]
        [thread.start() for thread in threads]
        time.sleep(0.005)
        cache.close()
        TensorCache("8MiB", path=tmp_path).close()
        [thread.join() for thread in threads]


def test_subclasses(tmp_path):
    class Counting(TensorCache):
        gets = 0

        def get(self, *args, **options):
            self.gets += 1
            return super().get(*args, **options)

    with Counting("8MiB", path=tmp_path) as cache:
        cache.add("k", "v")
        assert cache.get("k") == "v" and cache.gets == 1


def test_a_limit_of_entries_of_a_cache_with_a_name():
    with TensorCache(2, name="x") as cache:
        cache.add_many({"a": "1", "b": "2", "c": "3"})
        assert len(cache) == 2


def test_close_says_that_nothing_removed_comes_back(tmp_path):
    cache = TensorCache("16MiB", path=str(tmp_path / "c"))
    cache.add("kept", "v")
    cache.add("gone", "v")
    cache.flush()
    cache.remove("gone")
    assert cache.close() is True
    assert cache.close() is True
    with TensorCache("16MiB", path=str(tmp_path / "c")) as again:
        assert again.get("kept") == "v" and again.get("gone") is None
