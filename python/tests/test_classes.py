"""Lists, dataclasses, named tuples and mappings come back as what they were."""
import abc
import asyncio
import collections
import dataclasses
import enum
import functools
import threading
import warnings
from typing import Any, Generic, List, NamedTuple, Optional, TypeVar

import numpy as np
import pytest

from tensorcache import TensorCache

T = TypeVar("T")


@dataclasses.dataclass
class Output:
    logits: Any
    text: str = ""
    scores: List[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Child(Output):
    more: Any = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    n: int
    twice: int = dataclasses.field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "twice", 2 * self.n)


@dataclasses.dataclass
class Slots:
    __slots__ = ("a", "unset", "beside")
    a: Any
    unset: Any

    def __init__(self, a):
        self.a, self.beside = a, "kept"


@dataclasses.dataclass
class Counted:
    n: int
    made = 0

    def __post_init__(self):
        type(self).made += 1
        self.extra = [self.n]

    @functools.cached_property
    def slow(self):
        return object()


@dataclasses.dataclass
class Box(Generic[T]):
    item: T


class Undecorated(Output):
    pass


class Pair(NamedTuple):
    a: Any
    b: Any = None


Point = collections.namedtuple("Point", "x y")


class ModelOutput(collections.OrderedDict):
    """As that of transformers: a mapping and a dataclass whose items are its attributes, and that refuses much."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                self[field.name] = value

    def pop(self, *args, **kwargs):
        raise Exception("You cannot use pop")

    def update(self, *args, **kwargs):
        raise Exception("You cannot use update")

    def __getitem__(self, key):
        return dict(self.items())[key] if isinstance(key, str) else tuple(self.values())[key]

    def __setattr__(self, name, value):
        if name in self.keys() and value is not None:
            super().__setitem__(name, value)
        super().__setattr__(name, value)

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(key, value)


@dataclasses.dataclass
class CausalLMOutput(ModelOutput):
    loss: Any = None
    logits: Any = None
    hidden_states: Any = None


def same(found, value):
    if isinstance(value, np.ndarray):
        return type(found) is np.ndarray and found.dtype == value.dtype and np.array_equal(found, value)
    if type(found) is not type(value):
        return False
    if isinstance(value, (list, tuple)):
        return len(found) == len(value) and all(map(same, found, value))
    if isinstance(value, dict):
        items = list(found) == list(value) and all(same(dict.__getitem__(found, key), dict.__getitem__(value, key)) for key in value)
        if not items or not dataclasses.is_dataclass(value):
            return items
    if dataclasses.is_dataclass(value):
        return all(same(getattr(found, field.name, "unset"), getattr(value, field.name, "unset")) for field in dataclasses.fields(value))
    return found == value


ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
VALUES = [
    [], [1, 2], [1, [2.5, ["x", (None, [True])]]], list(range(1000)), [0.1, -0.0, float("inf")] * 20, [2**70] * 20, [True] * 20, [1, 2.0] * 10,
    [ARRAY, ARRAY], {"a": [ARRAY], "b": ([],)}, collections.OrderedDict(b=1, a=[ARRAY]), Output(ARRAY, "text", [0.5]), Output([Output(ARRAY)]), Child(1, more=ARRAY),
    Frozen(3), Slots(ARRAY), Box([1]), Box[int](5), Undecorated(ARRAY), Pair(ARRAY), Pair(Point(1, [2]), {"k": Point(3, 4)}), Point(ARRAY, "y"),
    CausalLMOutput(logits=ARRAY), CausalLMOutput(loss=np.float32(1), hidden_states=(ARRAY, ARRAY)), [Pair(CausalLMOutput(logits=Output(ARRAY)))],
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_they_come_back_as_they_were(cache, value):
    cache.add("k", value)
    assert same(cache.get("k"), value)
    for _ in range(2):
        assert same(cache.get_or_compute("computed", lambda: value), value)
    assert same(asyncio.run(cache.aget_or_compute("k", lambda: 1 / 0)), value)
    assert same(cache.get_or_compute_many(["k"], lambda keys: 1 / 0)[0], value)
    assert same(cache.entry("k").value, value)


def test_on_disk_they_are_there_again(tmp_path):
    with TensorCache("64MiB", path=tmp_path) as cache:
        for number, value in enumerate(VALUES):
            cache.add(number, value)
    with TensorCache("64MiB", path=tmp_path) as cache:
        assert all(same(cache.get(number), value) for number, value in enumerate(VALUES))


def test_arrays_inside_are_views(cache):
    cache.add("k", Output([ARRAY]))
    one, two = cache.get("k"), cache.get("k")
    assert one.logits[0].ctypes.data == two.logits[0].ctypes.data and not one.logits[0].flags.writeable
    one.logits.append("mine")
    assert len(cache.get("k").logits) == 1, "what is around them is each caller's own"


def test_a_model_output_stays_one(cache):
    cache.add("k", CausalLMOutput(logits=ARRAY, hidden_states=(ARRAY,)))
    found = cache.get("k")
    assert found["logits"] is found.logits and found[1] is found.hidden_states and found.loss is None and list(found.keys()) == ["logits", "hidden_states"]
    found.loss = 5
    assert found.loss == 5
    size = cache.stats()["used_bytes"]
    cache.add("twice", CausalLMOutput(logits=np.zeros(1 << 20, np.uint8)))
    assert cache.stats()["used_bytes"] - size < 1.5 * (1 << 20), "its items are its attributes, stored once"


def test_nothing_of_theirs_is_called(cache):
    cache.add("k", Counted(3))
    made = Counted.made
    found = cache.get("k")
    assert Counted.made == made and type(found) is Counted and found.n == 3 and found.extra == [3]
    value = Counted(4)
    kept = value.slow
    cache.add("k", value)
    assert cache.get("k").slow is not kept, "what a cached_property keeps is computed again"


def test_slots_that_are_not_set(cache):
    cache.add("k", Slots(1))
    found = cache.get("k")
    assert found.a == 1 and found.beside == "kept" and not hasattr(found, "unset")


class Colour(enum.Enum):
    RED = 1


class Plain(list):
    pass


class PlainDict(dict):
    pass


@dataclasses.dataclass
class Deleting:
    path: str

    def __del__(self):
        pass


@dataclasses.dataclass
class Failure(Exception):
    reason: str


@dataclasses.dataclass
class Described:
    x: int = 5

    def method(self):
        pass


class Setter:
    calls = 0

    def __get__(self, instance, owner):
        if instance is None:
            raise AttributeError
        return 1

    def __set__(self, instance, value):
        Setter.calls += 1


@dataclasses.dataclass
class WithSetter:
    x: int = Setter()


@dataclasses.dataclass
class Abstract(abc.ABC):
    x: int

    @abc.abstractmethod
    def method(self):
        pass


def shadowing():
    value = Described()
    value.method = 5
    return value


def cyclic():
    value = [1]
    value.append(value)
    return value


def cyclic_dataclass():
    value = Output(None)
    value.logits = {"itself": value}
    return value


def local():
    @dataclasses.dataclass
    class Local:
        x: int
    return Local(1)


@pytest.mark.parametrize("value, says", [
    (Colour.RED, "register_type"), (Plain([1]), "plain list"), (PlainDict(a=1), "plain dict"), (Deleting("x"), "__del__"), (Failure("x"), "not safe"),
    (shadowing(), "method"), (WithSetter(1), "descriptor"), (cyclic(), "contains itself"), (cyclic_dataclass(), "contains itself"), (local(), "top of a module"),
    (List[int], "cannot be stored"), (Output, "cannot be stored"), (Output(object()), "object"), (Pair({1}), "set"),
    (collections.defaultdict(list), "plain dict"), (collections.Counter("ab"), "plain dict"), (collections.OrderedDict({1.5: 1}), "key of type float"),
    ([object()], "object"), (Output(lambda: 0), "function"),
], ids=lambda given: given if isinstance(given, str) else type(given).__name__)
def test_what_cannot_be_stored_says_so_and_is_not_lost(cache, value, says):
    with pytest.raises((TypeError, ValueError)) as caught:
        cache.add("k", value)
    assert says in str(caught.value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert cache.get_or_compute("k", lambda: value) is value
        assert asyncio.run(cache.aget_or_compute("k", lambda: value)) is value
    assert Setter.calls <= 1 and "k" not in cache   # the one of its own __init__


def test_lists_that_hold_each_other_twice_are_refused(cache):
    value = [1]
    for _ in range(50):
        value = [value, value]
    with pytest.raises(ValueError, match="200,000"):
        cache.add("k", value)


def test_depth(cache):
    value = [1]
    for _ in range(50):
        value = [value]
    cache.add("k", value)
    assert cache.get("k") == value
    for _ in range(10_000):
        value = [value]
    with pytest.raises(ValueError, match="deeper"):
        cache.add("k", value)


def test_many_threads(cache):
    results = []

    def work():
        results.append(cache.get_or_compute("k", lambda: CausalLMOutput(logits=ARRAY)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join(20) for thread in threads]
    assert len(results) == 8 and all(same(result, CausalLMOutput(logits=ARRAY)) for result in results)


def test_where_pickle_is_allowed_it_has_the_rest():
    shared = [1]
    with TensorCache("8MiB", allow_pickle=True) as cache:
        cache.add("k", [shared, shared, cyclic()])
        found = cache.get("k")
        assert found[0] is found[1] and found[2][1] is found[2]
        cache.add("k", Output(ARRAY))
        assert same(cache.get("k"), Output(ARRAY))


def test_with_types_that_are_wrong(cache):
    cache.add("k", Output(text=[5], logits={"a": None}, scores=(1,)))
    assert same(cache.get("k"), Output(text=[5], logits={"a": None}, scores=(1,)))


def test_optional_is_none(cache):
    value: Optional[Output] = None
    cache.add("k", [value, Pair(value)])
    assert cache.get("k") == [None, Pair(None)]
