"""@memoize: caches the results of a function."""
from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Callable, Optional

from . import _arguments, _core
from ._cache import TensorCache

if TYPE_CHECKING:
    from typing import Generic, Protocol, TypeVar

    from typing_extensions import ParamSpec, Unpack

    from ._arguments import AddOptions

    P = ParamSpec("P")
    R = TypeVar("R", covariant=True)

    class Memoized(Protocol, Generic[P, R]):
        """A memoized function."""

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
        def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...
        def forget(self, *args: P.args, **kwargs: P.kwargs) -> bool: ...


@_arguments.shows_options
def memoize(cache: TensorCache, *, key: Optional[Callable[..., Any]] = None, name: Optional[str] = None, negative_ttl: float = 0.0,
            **options: "Unpack[AddOptions]") -> "Callable[[Callable[P, R]], Memoized[P, R]]":
    """Caches the results of a function or coroutine function in ``cache``, single-flight per key.

    key: function that makes the key from the arguments; default: the arguments as written, so f(1) and f(x=1) have different keys. Required if
        an argument cannot be a key (a model, ``self``).
    name: identifies the function in the cache; default: its module and qualified name. Lambdas and nested functions need an explicit name, because
        their qualified name is not unique. Change it when the function computes something different.
    negative_ttl, options: as for ``TensorCache.get_or_compute``.

    The function gets two attributes: ``cache_key(*args)``, for use with the cache itself, and ``forget(*args)``, which removes a result.
    """
    if not isinstance(cache, TensorCache):
        raise TypeError(f"memoize requires a TensorCache, as in @memoize(cache); got {cache!r}")
    asked = cache._asked(negative_ttl, options)

    def decorate(function: "Callable[P, R]") -> "Memoized[P, R]":
        named = name if name is not None else _name_of(function)

        def cache_key(*args: Any, **kwargs: Any) -> Any:
            made = key(*args, **kwargs) if key is not None else (args, tuple(sorted(kwargs.items())))
            try:
                return _core.digest(("memoize", named, made))
            except TypeError as error:
                raise TypeError(f"{named}: {error}. Pass memoize(key=...) a function that makes a key from the arguments") from None

        cached: Any
        if inspect.iscoroutinefunction(function):
            @functools.wraps(function)
            async def cached(*args: Any, **kwargs: Any) -> Any:
                return await cache._aget_or_compute(cache_key(*args, **kwargs), lambda: function(*args, **kwargs), asked)
        else:
            @functools.wraps(function)
            def cached(*args: Any, **kwargs: Any) -> Any:
                return cache._get_or_compute(cache_key(*args, **kwargs), None, lambda _: [function(*args, **kwargs)], asked)

        cached.cache_key = cache_key
        cached.forget = lambda *args, **kwargs: cache.remove(cache_key(*args, **kwargs))
        memoized: "Memoized[P, R]" = cached
        return memoized

    return decorate


def _name_of(function: Callable[..., Any]) -> str:
    name = f"{function.__module__}.{function.__qualname__}"
    if "<" in name:
        raise ValueError(f"{name} may be the name of several functions, whose results would be mixed up; give this one its own: memoize(name=...)")
    return name
