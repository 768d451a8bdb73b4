"""help() and editors see every parameter by its name, with its default, and a sentence for each method."""
import inspect
import pydoc

import pytest

import tensorcache
from tensorcache import CacheManager, Entry, Lease, TensorCache, _arguments, memoize, register_type

METHODS = [getattr(cls, name) for cls in (TensorCache, CacheManager, Entry, Lease) for name in dir(cls)
           if not name.startswith("_") and callable(getattr(cls, name))]
CALLABLES = [*METHODS, memoize, register_type, TensorCache, CacheManager]


@pytest.mark.parametrize("function", CALLABLES, ids=lambda function: function.__qualname__)
def test_every_public_callable(function):
    signature = inspect.signature(function)
    assert inspect.getdoc(function)
    for parameter in signature.parameters.values():
        assert parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL), f"{function.__qualname__}: *{parameter.name} says nothing"


def test_options_are_shown_with_what_they_are_if_nothing_is_said():
    shown = {name: parameter.default for name, parameter in inspect.signature(TensorCache.get_or_compute).parameters.items()}
    assert {"negative_ttl", *_arguments.AddOptions.__annotations__} <= shown.keys()
    given = {name: shown[name] for name in _arguments.AddOptions.__annotations__}
    assert _arguments.options(given, None) == _arguments.PLAIN
    cache = TensorCache("8MiB", ttl=60)
    cache.add("k", "v", **given)
    assert cache.get("k") == "v"


def test_help_as_it_is_printed():
    text = pydoc.render_doc(TensorCache, renderer=pydoc.plaintext)
    assert "cache_size: 'Union[int, str]' = 1024" in text and "**options" not in text
    assert "stale: 'float' = 0.0, tags: 'Sequence[str]' = ()" in text
    for name in dir(TensorCache):
        assert name.startswith("_") or name in text
    assert inspect.signature(CacheManager) == inspect.signature(TensorCache)


def test_a_wrong_option_is_named(cache):
    for call in (lambda: cache.add("k", "v", tll=5), lambda: cache.get_or_compute("k", lambda: "v", tll=5), lambda: memoize(cache, tll=5)):
        with pytest.raises(TypeError, match="'tll'; there are ttl, stale, tags, cost, as_of"):
            call()


def test_everything_public_is_named():
    assert set(tensorcache.__all__) >= {"TensorCache", "CacheManager", "memoize", "register_type"}
