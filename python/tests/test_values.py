"""What goes in comes out as it was; what cannot says what to do."""
import array
import collections
import copy
import pickle

import numpy as np
import pytest

from tensorcache import TensorCache

DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 4), (2, 0, 5), (2, 3, 4, 5)])
def test_arrays(cache, dtype, shape):
    value = np.asarray((np.random.default_rng(1).random(shape) * 100), dtype)
    cache.add("k", value)
    found = cache.get("k")
    assert type(found) is np.ndarray and found.dtype == value.dtype and found.shape == value.shape
    np.testing.assert_array_equal(found, value)
    assert not found.flags.writeable and found.ctypes.data % 64 == 0


def test_a_hit_is_a_view_that_cannot_be_written(cache):
    cache.add("k", np.arange(1000))
    one, two = cache.get("k"), cache.get("k")
    assert one.ctypes.data == two.ctypes.data, "no copies"
    with pytest.raises(ValueError):
        one[0] = 5
    with pytest.raises(ValueError):
        one.flags.writeable = True


def test_what_is_stored_is_a_copy(cache):
    value = np.arange(10)
    cache.add("k", value)
    value[:] = 0
    assert cache.get("k")[9] == 9


def test_a_view_stays_whatever_becomes_of_the_cache():
    cache = TensorCache("16MiB")
    cache.add("k", np.arange(100_000))
    view = cache.get("k")[::7]
    cache.remove("k")
    for number in range(100):
        cache.add(number, np.full(100_000, number))   # evicts, again and again
    assert view[5] == 35
    cache.close()
    assert view.sum() == sum(range(0, 100_000, 7))


def test_pinned_values_are_not_evicted_and_say_so():
    with TensorCache("4MiB") as cache:
        held = []
        with pytest.raises(MemoryError, match="pinned by results in use"):
            for number in range(100):
                cache.add(number, np.full(100_000, number, np.uint8))
                held.append(cache.get(number))
        assert all((view == number).all() for number, view in enumerate(held))
        held.clear()
        cache.add("again", np.zeros(100_000, np.uint8))


@pytest.mark.parametrize("value", [
    np.arange(24).reshape(4, 6)[::2, ::3], np.arange(10)[::-1], np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1), np.broadcast_to(np.arange(3), (4, 3)),
    np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(24).reshape(4, 6)[::-1, ::-2],
    np.array([(1, 2.5), (3, 4.5)], [("a", "i1"), ("b", "f8")])["b"], np.frombuffer(bytes(range(17)), np.uint8)[1:].view(np.int64),
], ids=["gaps", "backwards", "transposed", "broadcast", "fortran", "both", "field", "unaligned"])
def test_strides(cache, value):
    cache.add("k", value)
    np.testing.assert_array_equal(cache.get("k"), value)


def test_dense_strides_are_kept(cache):
    cache.add("k", np.asfortranarray(np.arange(6).reshape(2, 3)))
    assert cache.get("k").flags.f_contiguous


@pytest.mark.parametrize("value", [
    "text", "", "日本", b"bytes", b"", True, False, 0, -5, 2**100, 0.1, float("inf"), -0.0, (), (1,), ("POSITIVE", 0.98), {"a": (1, None), (1, "x"): b"y", 7: {}},
    ((((1,),),),), bytearray(b"abc"),
])
def test_plain_values(cache, value):
    cache.add("k", value)
    found = cache.get("k")
    assert found == value and type(found) is type(value)


def test_composed_values(cache):
    value = {"logits": np.arange(6, dtype=np.float32).reshape(2, 3), "ids": (np.arange(3), "tokens"), "score": np.float64(0.5), "n": 3}
    cache.add("k", value)
    found = cache.get("k")
    assert list(found) == list(value)
    np.testing.assert_array_equal(found["logits"], value["logits"])
    np.testing.assert_array_equal(found["ids"][0], value["ids"][0])
    assert not found["logits"].flags.writeable
    assert found["ids"][1] == "tokens" and found["n"] == 3
    assert type(found["score"]) is np.float64 and found["score"] == 0.5


def test_nan_is_a_value(cache):
    cache.add("k", float("nan"))
    assert cache.get("k") != cache.get("k")


def test_buffers(cache):
    cache.add("array", array.array("d", [1, 2, 3]))
    np.testing.assert_array_equal(cache.get("array"), [1.0, 2.0, 3.0])
    cache.add("view", memoryview(b"abcdef").cast("B", (2, 3)))
    found = cache.get("view")
    assert type(found) is memoryview and found.readonly and found.shape == (2, 3) and found.tobytes() == b"abcdef"


class Producer:
    """Anything with DLPack."""

    def __init__(self, value):
        self.value = value

    def __dlpack__(self, **options):
        return self.value.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.value.__dlpack_device__()


def test_dlpack_in_and_out(cache):
    value = np.arange(12, dtype=np.float32).reshape(3, 4)
    cache.add("k", Producer(value))
    np.testing.assert_array_equal(cache.get("k"), value)


def deep(depth):
    value = "x"
    for _ in range(depth):
        value = (value,)
    return value


@pytest.mark.parametrize("value, error, says", [
    (object(), TypeError, "allow_pickle=True"),
    ({1, 2}, TypeError, "tuple"),
    (None, TypeError, "add_nothing"),
    (np.array([1, "a", None], dtype=object), TypeError, "numeric dtype"),
    (np.array(["a", "b"]), TypeError, "<U1"),
    (np.array(["2020-01-01"], "M8[D]"), TypeError, "int64"),
    (np.zeros(2, [("a", "i4"), ("b", "f4")]), TypeError, "cannot be stored"),
    (np.arange(3, dtype=">i4"), TypeError, "newbyteorder"),
    (np.ma.masked_array([1, 2], [True, False]), TypeError, "filled"),
    ((1, [{2}]), TypeError, "set"),
    ({1.5: 2}, TypeError, "key of type float"),
    (deep(100), ValueError, "nested deeper"),
    (lambda: 0, TypeError, "function"),
    (np.zeros(3).view(np.recarray), TypeError, "asarray"),
    (np.zeros(2, "V0"), TypeError, "cannot be stored"),
    (np.str_("x"), TypeError, "str(value)"),
    (collections.defaultdict(int, a=1), TypeError, "dict(value)"),
    (collections.namedtuple("Pair", "a b")(1, 2), TypeError, "tuple(value)"),
    (np.datetime64("2020-01-01"), TypeError, "int64"),
    (memoryview(bytes(8)).cast("P"), TypeError, "'P'"),
    ("\ud800", UnicodeEncodeError, "surrogates"),
    (tuple(b"x" for _ in range(70_000)), ValueError, "65,535"),
    (np.zeros((1,) * 17), ValueError, "17 axes"),
])
def test_what_cannot_be_stored_says_so(cache, value, error, says):
    cache.add("k", "before")
    with pytest.raises(error) as caught:
        cache.add("k", value)
    assert says in str(caught.value)
    assert cache.get("k") == "before"


def test_longdouble_is_refused(cache):
    with pytest.raises(TypeError, match="64 bits"):
        cache.add("k", np.zeros(2, np.longdouble))


def test_a_value_larger_than_the_cache(cache):
    cache.add("k", "small")
    with pytest.raises(ValueError, match="larger than the whole cache"):
        cache.add("k", np.zeros(100 << 20, np.uint8))
    assert cache.get("k") == "small"


class Thing:
    def __init__(self, number):
        self.number = number


def test_pickle_only_where_asked_for_by_name(tmp_path):
    with TensorCache("8MiB", path=tmp_path, allow_pickle=True) as cache:
        cache.add("k", Thing(7))
        assert cache.get("k").number == 7
    with TensorCache("8MiB", path=tmp_path) as cache:
        with pytest.raises(ValueError, match="allow_pickle"):
            cache.get("k")
        with pytest.raises(TypeError):
            cache.add("other", Thing(8))


@pytest.mark.parametrize("value", [[1, 2], {1, 2}, collections.OrderedDict(a=1), np.array([1, "a", None], dtype=object), np.array(["2020-01-01"], "M8[D]"),
                                   np.array(["a", "b"]), np.longdouble(1), {"a": [1, 2], "b": np.arange(3)}], ids=str)
def test_whatever_can_be_pickled_comes_back_as_it_was(value):
    with TensorCache("8MiB", allow_pickle=True) as cache:
        cache.add("k", value)
        found = cache.get("k")
        assert type(found) is type(value) and str(found) == str(value)


def test_arrays_are_views_where_pickle_is_allowed_too():
    with TensorCache("8MiB", allow_pickle=True) as cache:
        cache.add("k", np.arange(10))
        assert cache.get("k").ctypes.data == cache.get("k").ctypes.data and not cache.get("k").flags.writeable


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_cache_is_not_copied(cache, copied):
    with pytest.raises(TypeError, match="cannot be copied, pickled"):
        copied(cache)


@pytest.mark.parametrize("sign", [1, -1])
def test_integers_too_long_for_decimals(cache, sign):
    cache.add("k", sign * 2**20_000)
    assert cache.get("k") == sign * 2**20_000
