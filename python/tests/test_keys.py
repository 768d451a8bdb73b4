"""What is one key, what are two, and what is none."""
import hashlib
import struct

import numpy as np
import pytest

from tensorcache import TensorCache, _core

DIFFERENT = [
    "1", 1, b"1", 1.0, True, None, (), (1,), ("1",), (True,), ((1,),), (1, 23), (12, 3), (1, 2, 3), ((1, 2), 3), (1, (2, 3)), ("ab", "c"), ("a", "bc"),
    (b"ab", b"c"), "", b"", 0, -1, 2**63, 2**64, -2**63 - 1, 2**2000, (2**64, 1), np.array([[1, 2, 3]]), np.array([[1], [2], [3]]), np.zeros((0, 3), int),
    np.zeros((3, 0), int), np.zeros((0,), int)[None], (None,), ((),), 0.5, float("inf"), "é", "é".encode(),
]


def test_different_keys_never_meet(cache):
    for number, key in enumerate(DIFFERENT):
        cache.add(key, str(number))
    assert [cache.get(key) for key in DIFFERENT] == [str(number) for number in range(len(DIFFERENT))]
    assert len(cache) == len(DIFFERENT)


@pytest.mark.parametrize("one, other", [
    ((1, 2, 3), np.array([1, 2, 3])),
    ((1, 2, 3), np.array([1, 2, 3], np.uint8)),
    ((1, 2, 3), tuple(np.array([1, 2, 3]))),
    ((1, 2, 3), np.array([9, 1, 9, 2, 9, 3])[1::2]),
    ((5,), (np.int16(5),)),
    (5, np.int64(5)),
    (0.0, -0.0),
    (np.array([[1, 2], [3, 4]], np.int16), np.array([[1, 3], [2, 4]], np.int64).T),
    (2**64 - 1, np.uint64(2**64 - 1)),
    (5, np.array(5)),
    (("a", 5), ("a", np.array(5, np.int16))),
    (True, np.bool_(True)),
    ((True,), (np.bool_(True),)),
    (np.array([1, 2], ">i4"), (1, 2)),
])
def test_the_same_tokens_are_the_same_key(one, other):
    assert _core.digest(one) == _core.digest(other)


def test_the_digest_is_the_documented_one():
    tokens = b"TCK1T" + struct.pack("<Qqq", 2, 1, 2)
    assert _core.digest((1, 2)).hex() == hashlib.sha256(tokens).hexdigest()
    nested = b"TCK1(" + struct.pack("<Q", 2) + b"s" + struct.pack("<Q", 1) + b"a" + b"i" + struct.pack("<q", 7)
    assert _core.digest(("a", 7)).hex() == hashlib.sha256(nested).hexdigest()
    big = b"TCK1I" + struct.pack("<Q", 9) + (2**64).to_bytes(9, "little")
    assert _core.digest(2**64).hex() == hashlib.sha256(big).hexdigest()


@pytest.mark.parametrize("key, error, says", [
    (object(), TypeError, "object"),
    ([1, 2], TypeError, "tuple(key)"),
    ({1: 2}, TypeError, "dict"),
    ({1}, TypeError, "set"),
    ((1, [2]), TypeError, "list"),
    (np.array([1.0]), TypeError, "float64"),
    (np.array([None]), TypeError, "object"),
    (np.array([True]), TypeError, "bool"),
    (np.ma.masked_array([1, 2], [True, False]), TypeError, "MaskedArray"),
    (np.arange(3).view(np.recarray), TypeError, "asarray"),
    (np.float32(0.1), TypeError, "float(key)"),
    (bytearray(b"x"), TypeError, "bytes(key)"),
    (float("nan"), ValueError, "NaN"),
    ((1, float("nan")), ValueError, "NaN"),
    (np.array([2**63], np.uint64), ValueError, "63 bits"),
    ("\ud800", UnicodeEncodeError, "surrogates"),
])
def test_what_is_no_key_says_so(cache, key, error, says):
    for use in (lambda: cache.get(key), lambda: cache.add(key, "v"), lambda: cache.remove(key), lambda: key in cache):
        with pytest.raises(error, match="(?s).*" + says.replace("(", r"\(").replace(")", r"\)")):
            use()
    assert len(cache) == 0


def nested(depth):
    key = "x"
    for _ in range(depth):
        key = (key,)
    return key


def test_a_deep_tuple(cache):
    cache.add(nested(60), "v")
    assert cache.get(nested(60)) == "v" and cache.get(nested(59)) is None
    for depth in (100, 100_000):
        with pytest.raises(ValueError, match="nested deeper"):
            cache.add(nested(depth), "v")


def test_names_keep_caches_apart(tmp_path):
    with TensorCache("8MiB", path=tmp_path, name="one") as one:
        one.add("k", "1")
    with TensorCache("8MiB", path=tmp_path, name="two") as two:
        assert two.get("k") is None
    with TensorCache("8MiB", path=tmp_path, name="one") as one:
        assert one.get("k") == "1"
