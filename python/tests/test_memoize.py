"""@memoize."""
import pytest

from tensorcache import memoize


def test_memoize(cache):
    calls = []

    @memoize(cache, name="area", ttl=60)
    def area(width, height=2):
        """Docs stay."""
        calls.append((width, height))
        return width * height

    @memoize(cache, name="other")
    def other(width, height=2):
        return "another function"

    assert [area(3), area(3), area(3, height=4), area(3, height=4)] == [6, 6, 12, 12]
    assert calls == [(3, 2), (3, 4)] and area.__doc__ == "Docs stay."
    assert other(3) == "another function"
    assert area.forget(3) is True and area(3) == 6 and len(calls) == 3
    assert cache.get(area.cache_key(3)) == 6


def test_memoize_with_a_key(cache):
    class Model:
        calls = 0

        @memoize(cache, name="run", key=lambda self, tokens: tuple(tokens))
        def run(self, tokens):
            Model.calls += 1
            return sum(tokens)

        @memoize(cache, name="wrong")
        def wrong(self, tokens):
            return 0

    assert [Model().run([1, 2]), Model().run([1, 2])] == [3, 3] and Model.calls == 1
    with pytest.raises(TypeError, match=r"memoize\(key=\.\.\.\)"):
        Model().wrong([1])
