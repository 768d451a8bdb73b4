"""register_type."""
import collections
import enum
import logging
from fractions import Fraction
from pathlib import PurePosixPath

import numpy as np
import pytest

from tensorcache import TensorCache, register_type
from tensorcache import _types


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(_types, "_by_type", {})
    monkeypatch.setattr(_types, "_by_name", {})


class Colour(str, enum.Enum):
    RED = "red"


class Thing:
    def __init__(self, array):
        self.array = array


def test_values_of_registered_types(cache):
    register_type(Fraction, lambda value: (value.numerator, value.denominator), lambda tree: Fraction(*tree))
    register_type(Colour, lambda value: value.name, lambda tree: Colour[tree])
    register_type(Thing, lambda value: {"array": value.array, "of": [Fraction(1, 3)]}, lambda tree: Thing(tree["array"]))
    register_type(collections.Counter, lambda value: list(value.items()), lambda tree: collections.Counter(dict(tree)))
    value = [Fraction(1, 3), Colour.RED, collections.Counter("abca"), Thing(np.arange(3))]
    cache.add("k", value)
    found = cache.get("k")
    assert found[:3] == value[:3] and [type(item) for item in found] == [type(item) for item in value] and found[1] is Colour.RED
    assert found[3].array.tolist() == [0, 1, 2] and not found[3].array.flags.writeable
    assert cache.entry("k").value[0] == Fraction(1, 3)
    with TensorCache("8MiB", allow_pickle=True) as pickling:
        pickling.add("k", Thing(np.arange(3)))
        assert not pickling.get("k").array.flags.writeable


def test_a_type_that_is_not_registered_here_is_a_miss(cache, monkeypatch):
    register_type(Fraction, str, Fraction)
    cache.add("k", (Fraction(1, 3),))
    monkeypatch.setattr(_types, "_by_name", {})
    assert cache.get("k") is None and cache.entry("k") is None and cache.get_or_compute("k", lambda: "new") == "new"


def test_functions_that_fail_lose_nothing(cache, caplog):
    register_type(Fraction, str, Fraction)
    cache.add("k", Fraction(1, 3))
    register_type(Fraction, str, lambda tree: 1 / 0)
    with caplog.at_level(logging.WARNING, "tensorcache"):
        assert cache.get("k") is None and "Fraction" in caplog.text
        assert cache.get_or_compute("k", lambda: Fraction(1, 2)) == Fraction(1, 2)
    register_type(Fraction, lambda value: 1 / 0, Fraction)
    with pytest.raises(ZeroDivisionError):
        cache.add("other", Fraction(1, 3))
    with pytest.warns(RuntimeWarning):
        assert cache.get_or_compute("other", lambda: Fraction(1, 2)) == Fraction(1, 2)
    register_type(Fraction, lambda value: value, Fraction)   # endless
    with pytest.raises(ValueError, match="deeper"):
        cache.add("other", Fraction(1, 3))


def test_names():
    class Local:
        pass

    with pytest.raises(ValueError, match="name="):
        register_type(Local, str, str)
    register_type(Local, str, str, name="local")
    with pytest.raises(ValueError, match="another"):
        register_type(Thing, str, str, name="local")
    register_type(Thing, str, str)
    defined_anew = type("Thing", (), {"__module__": __name__})
    register_type(defined_anew, str, str)
    assert set(_types._by_type) == {Local, defined_anew}
    register_type(Local, str, str, name="renamed")
    assert "local" not in _types._by_name and "renamed" in _types._by_name


@pytest.mark.parametrize("arguments, error", [((5, str, str), TypeError), ((list, str, list), ValueError), ((np.ndarray, str, str), ValueError),
                                              ((Thing, None, str), TypeError), ((Thing, str, str, 5), TypeError), ((Thing, str, str, ""), TypeError)])
def test_wrong_arguments(arguments, error):
    with pytest.raises(error):
        register_type(*arguments)


def test_subclasses_are_not_registered_along(cache):
    register_type(PurePosixPath, str, PurePosixPath)

    class Sub(PurePosixPath):
        pass

    cache.add("k", PurePosixPath("a"))
    assert cache.get("k") == PurePosixPath("a")
    with pytest.raises(TypeError, match="Sub"):
        cache.add("k", Sub("a"))
