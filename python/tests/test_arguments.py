"""What is wrong with an argument is said, with its name; nothing is stored then."""
import numpy as np
import pytest

from tensorcache import CacheManager, TensorCache, memoize

OPTIONS = [
    ({"ttl": "5"}, TypeError), ({"ttl": 0}, ValueError), ({"ttl": [1]}, TypeError), ({"stale": -1, "ttl": 5}, ValueError), ({"stale": "x", "ttl": 5}, TypeError),
    ({"stale": None, "ttl": 5}, TypeError), ({"tags": [1]}, TypeError), ({"tags": b"x"}, TypeError), ({"tags": 5}, TypeError), ({"tags": ["x"] * 17}, ValueError),
    ({"tags": ["\ud800"]}, ValueError), ({"cost": "x"}, TypeError), ({"cost": -1}, ValueError), ({"cost": float("nan")}, ValueError), ({"tll": 5}, TypeError),
]


@pytest.mark.parametrize("options, error", OPTIONS, ids=str)
def test_options(cache, options, error):
    name = next(iter(options))
    for use in (lambda: cache.add("k", "v", **options), lambda: cache.get_or_compute("k", lambda: "v", **options),
                lambda: cache.get_or_compute_many(["k"], lambda keys: ["v"], **options), lambda: cache.put_if_version("k", 0, "v", **options),
                lambda: cache.lease("k").add("v", **options), lambda: memoize(cache, **options)):
        with pytest.raises(error, match=name):
            use()
    assert len(cache) == 0


@pytest.mark.parametrize("options, error", [({"as_of": -1}, ValueError), ({"as_of": "x"}, TypeError), ({"as_of": 2**64}, ValueError)], ids=str)
def test_as_of(cache, options, error):
    with pytest.raises(error, match="as_of"):
        cache.add("k", "v", **options)


def test_numbers_of_any_kind_are_fine(cache):
    cache.add("k", "v", ttl=np.float32(60), stale=np.int64(5), cost=float("inf"), as_of=np.uint64(0))
    assert cache.get("k") == "v" and TensorCache(np.int64(5)).close() is True


@pytest.mark.parametrize("name, call, error", [
    ("version", lambda cache: cache.put_if_version("k", -1, "v"), ValueError),
    ("version", lambda cache: cache.put_if_version("k", None, "v"), TypeError),
    ("negative_ttl", lambda cache: cache.get_or_compute("k", lambda: None, negative_ttl=-1), ValueError),
    ("tag", lambda cache: cache.invalidate(5), TypeError),
    ("timeout", lambda cache: cache.lease("k", timeout=None), TypeError),
    ("hold", lambda cache: cache.lease("k", hold=-1), ValueError),
    ("hold", lambda cache: cache.lease("k", hold="x"), TypeError),
    ("cache_size", lambda cache: cache.resize(None), ValueError),
    ("cache_size", lambda cache: cache.resize("x"), ValueError),
    ("timeout", lambda cache: cache.flush(None), TypeError),
    ("timeout", lambda cache: cache.flush(float("nan")), ValueError),
    ("ttl", lambda cache: cache.add_nothing("k", ttl=None), TypeError),
    ("memoize", lambda cache: memoize(5), TypeError),
    ("memoize", lambda cache: memoize(CacheManager(5)), TypeError),
])
def test_other_arguments(cache, name, call, error):
    with pytest.raises(error, match=name):
        call(cache)


@pytest.mark.parametrize("options, error", [
    ({"memory": -1}, ValueError), ({"memory": "x"}, ValueError), ({"memory": 1.5}, TypeError), ({"policy": None}, TypeError), ({"policy": "x"}, ValueError),
    ({"name": 5}, TypeError), ({"name": "x" * 201}, ValueError), ({"name": "\ud800"}, ValueError), ({"path": 5}, TypeError), ({"path": ""}, ValueError),
    ({"disk_size": -1}, ValueError), ({"disk_size": "x"}, ValueError), ({"disk_size": None}, TypeError), ({"ttl": 0}, ValueError), ({"ttl": "x"}, TypeError),
], ids=str)
def test_opening(options, error):
    name = next(iter(options))
    with pytest.raises(error, match="directory" if options == {"path": ""} else name):
        TensorCache(10, **options)


def test_names_of_a_manager():
    with CacheManager("8MiB") as manager:
        for wrong in ({"name": 5}, {"name": "x" * 201}):
            with pytest.raises((TypeError, ValueError), match="name"):
                manager.cache(**wrong)
        with pytest.raises(ValueError, match="cache_size"):
            manager.cache("x", cache_size="2GiB")


def test_functions_without_a_name_of_their_own_need_one(cache):
    def inner(x):
        return x

    for function in (inner, lambda x: x):
        with pytest.raises(ValueError, match=r"memoize\(name="):
            memoize(cache)(function)
    one, two = memoize(cache, name="one")(lambda x: x + 1), memoize(cache, name="two")(lambda x: 2 * x)
    assert [one(3), two(3), one(3), two(3)] == [4, 6, 4, 6]
