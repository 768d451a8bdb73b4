"""Values of classes that are not here any more, or changed; directories that somebody else wrote."""
import asyncio
import json
import subprocess
import sys
import types

import numpy as np
import pytest

from tensorcache import TensorCache

BEFORE = """
import dataclasses, typing
@dataclasses.dataclass
class Output:
    logits: object
    n: int = 0
class Pair(typing.NamedTuple):
    a: object
    b: object
"""


@pytest.fixture
def module():
    """A module whose source changes between two runs."""
    made = types.ModuleType("changing")
    sys.modules["changing"] = made

    def define(source):
        for name in [name for name in vars(made) if not name.startswith("__")]:
            delattr(made, name)
        exec(source, vars(made))
        return made

    yield define
    sys.modules.pop("changing", None)


def is_a_miss(cache, key, new):
    """And is computed again, once."""
    assert cache.get(key) is None and cache.get(key, 5) == 5 and cache.entry(key) is None and cache.get_many([key]) == [None]
    assert asyncio.run(cache.aget(key, 5)) == 5
    assert cache.get_or_compute(key, lambda: new) == new
    assert cache.get_or_compute(key, lambda: 1 / 0) == new and cache.get(key) == new


@pytest.mark.parametrize("after", ["", BEFORE.replace("logits", "scores").replace("b: object", "c: object"),
                                   BEFORE.replace("n: int = 0", "n: int = 0\n    more: int = 1").replace("b: object", "b: object\n    c: int = 1"),
                                   BEFORE.replace("class Output", "class Renamed").replace("class Pair", "class Renamed2"),
                                   "Output = Pair = dict", "class Output: pass\nclass Pair(tuple): pass", "def Output(): 1 / 0\nPair = 5",
                                   "import types\nOutput = Pair = types.SimpleNamespace()"])
@pytest.mark.parametrize("name", ["Output", "Pair"])
def test_a_class_that_changed_is_a_miss(cache, module, after, name):
    cache.add("k", [getattr(module(BEFORE), name)(np.arange(3), 1)])
    module(after)
    is_a_miss(cache, "k", "new")


def test_a_class_that_is_not_loaded_is_not_imported(tmp_path):
    (tmp_path / "outputs.py").write_text(BEFORE + "print('imported')")
    code = """
import sys
from tensorcache import TensorCache
with TensorCache("8MiB", path="cache") as cache:
    if sys.argv[1] == "write":
        import outputs
        cache.add("k", outputs.Output("text"))
    print(cache.get("k"), "outputs" in sys.modules)
    if sys.argv[1] == "read":
        import outputs
        print(cache.get("k"))
"""
    (tmp_path / "program.py").write_text(code)
    ran = [subprocess.run([sys.executable, "program.py", how], cwd=tmp_path, capture_output=True, text=True, timeout=60) for how in ("write", "read")]
    assert [done.stdout for done in ran] == ["imported\nOutput(logits='text', n=0) True\n", "None False\nimported\nOutput(logits='text', n=0)\n"], ran


def test_a_class_of_the_main_module(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(BEFORE + """
from tensorcache import TensorCache
with TensorCache("8MiB", path="cache") as cache:
    print(cache.get_or_compute("k", lambda: print("computed") or [Output(1), Pair(2, 3)]))
""")
    shown = [subprocess.run([sys.executable, program], cwd=tmp_path, capture_output=True, text=True, timeout=60).stdout for _ in range(2)]
    assert shown == ["computed\n[Output(logits=1, n=0), Pair(a=2, b=3)]\n", "[Output(logits=1, n=0), Pair(a=2, b=3)]\n"]


def test_a_compare_and_swap_takes_an_unreadable_value_for_nothing(cache, module):
    cache.add("k", module(BEFORE).Output(1))
    module("")
    assert cache.put_if_version("k", 7, "new") is None
    assert cache.put_if_version("k", 0, "new") and cache.get("k") == "new"
    assert cache.put_if_version("k", 0, "newer") is None


@pytest.mark.parametrize("how", ["many", "async", "stale"])
def test_whichever_way_it_is_asked_for(cache, module, how):
    cache.add("k", module(BEFORE).Output(1), ttl=0.001 if how == "stale" else 60, stale=60)
    module("")
    if how == "many":
        assert cache.get_or_compute_many(["k", "l"], lambda keys: keys) == ["k", "l"]
    elif how == "async":
        assert asyncio.run(cache.aget_or_compute("k", lambda: "k")) == "k"
    else:
        assert cache.get_or_compute("k", lambda: "k") == "k"
    assert cache.get("k") == "k"


def forged(cache, structure, parts=(b"",)):
    """As whoever can write a cache's files puts it there."""
    cache._core.add("k", list(parts), structure if isinstance(structure, str) else json.dumps(structure), (0.0, 0.0, (), 1.0, 0))


FIELDS = [["logits", {"i": "1"}], ["n", {"i": "2"}]]
OUTPUT = {"c": ["changing", "Output"], "dataclass": FIELDS}


@pytest.mark.parametrize("structure", [
    {"c": ["os", "system"], "tuple": ["a"], "values": [None]}, {"c": ["builtins", "eval"], "dataclass": []}, {"c": ["subprocess", "Popen"], "dataclass": [["args", None]]},
    {"c": ["antigravity", "x"], "dataclass": []}, {"c": ["this", "s"], "dataclass": []}, {"c": ["builtins", "dict"], "dataclass": []},
    {"c": ["builtins", "tuple"], "tuple": [], "values": []}, {"c": ["os", "stat_result"], "sequence": [], "values": []},
    {**OUTPUT, "c": ["changing", "Output.__class__"]}, {**OUTPUT, "c": ["changing", "Output.method"]}, {**OUTPUT, "c": ["changing", "sys.modules"]},
    {**OUTPUT, "c": ["changing", "alias"]}, {**OUTPUT, "c": ["changing", ""]}, {**OUTPUT, "c": ["changing", 5]}, {**OUTPUT, "c": [["x"], "y"]}, {**OUTPUT, "c": 5},
    {**OUTPUT, "c": None}, {**OUTPUT, "c": ["changing", "Deleting"]}, {**OUTPUT, "c": ["changing", "Lazy.sub"]},
    {**OUTPUT, "c": ["changing", "Lazy"]}, {"c": ["changing", "LazyTuple"], "tuple": [], "values": []}, {"c": ["changing", "LazyTuple"], "sequence": [], "values": []},
    {**OUTPUT, "more": [["method", 5]]}, {**OUTPUT, "more": [["__class__", 5]]}, {**OUTPUT, "more": [["__dict__", {"d": []}]]}, {**OUTPUT, "more": [[5, None]]},
    {**OUTPUT, "more": [["name", None, None, None]], "items": 5}, {**OUTPUT, "items": [["a", None]]}, {**OUTPUT, "dataclass": FIELDS[:1]}, {**OUTPUT, "dataclass": 5},
    {**OUTPUT, "dataclass": [*FIELDS, ["__del__", None]]}, {**OUTPUT, "dataclass": [[], []]}, {"c": ["changing", "Pair"], "tuple": ["a", "b"], "values": [None]},
    {"c": ["changing", "Pair"], "tuple": ["a", "b"], "values": 5}, {"c": ["changing", "Pair"], "tuple": ["a", "b"]}, {"r": "nobody", "tree": None}, {"r": ["x"]},
    {"t": [OUTPUT, {"c": ["os", "system"], "dataclass": []}]}, "[" * 100_000, '{"l":[' * 900 + "]}" * 900 if sys.version_info < (3, 12) else "[" * 100_000,
], ids=lambda given: str(given)[:60])
def test_a_hostile_directory_calls_nothing(cache, module, structure):
    module(BEFORE.replace("n: int = 0", """n: int = 0
    def __post_init__(self): raise SystemExit
    def __new__(cls, *args): raise SystemExit
    def __init__(self, *args): raise SystemExit
    def __setattr__(self, name, value): raise SystemExit
    def method(self): pass
""") + """
import sys
alias = Output
@dataclasses.dataclass
class Deleting(Output):
    def __del__(self): raise SystemExit
class Meta(type):
    def __getattr__(cls, name): raise SystemExit
class Lazy(metaclass=Meta): pass
class LazyTuple(tuple, metaclass=Meta): pass
def __getattr__(name): raise SystemExit
""")
    forged(cache, structure)
    assert cache.get("k") is None and "antigravity" not in sys.modules and "this" not in sys.modules
    forged(cache, OUTPUT)
    found = cache.get("k")
    assert (type(found).__name__, found.logits, found.n) == ("Output", 1, 2), "nothing of the class is called"
    assert cache.get_or_compute("k", lambda: 1 / 0).n == 2


def test_text_is_never_taken_for_structure(cache):
    text = '{"c":["os","system"],"dataclass":[]}'
    for value in (text, [text], {text: text}, {"c": ("changing", "Output"), "dataclass": ()}, {"r": "x", "tree": 1}, {"l": (1,)}, [["c", "r"]]):
        cache.add("k", value)
        assert cache.get("k") == value and cache.entry("k").value == value
