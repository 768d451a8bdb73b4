"""@memoize: a function whose results are kept in a cache."""
from __future__ import annotations

import functools
import inspect
from typing import Any, Callable, Optional

from . import _core
from ._cache import TensorCache


def memoize(cache: TensorCache, *, key: Optional[Callable[..., Any]] = None, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Keeps a function's results in ``cache``, one computation per key; a coroutine function's too.

    key: makes the key of the arguments; without it, the arguments are the key. Either way the function's module and name are part of it, so that
        functions may share a cache. Give it where an argument cannot be a key (a model, ``self``).
    options: ttl, stale, tags, cost, negative_ttl, as for ``TensorCache.get_or_compute``.

    The function gets two attributes: ``cache_key(*args)``, for use with the cache itself, and ``forget(*args)``.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        name = f"{function.__module__}.{function.__qualname__}"

        def cache_key(*args: Any, **kwargs: Any) -> Any:
            made = key(*args, **kwargs) if key is not None else (args, tuple(sorted(kwargs.items())))
            try:
                return _core.digest(("memoize", name, made))
            except TypeError as error:
                raise TypeError(f"{name}: {error}. Give memoize(key=...) a function that makes a key of the arguments") from None

        if inspect.iscoroutinefunction(function):
            @functools.wraps(function)
            async def cached(*args: Any, **kwargs: Any) -> Any:
                return await cache.aget_or_compute(cache_key(*args, **kwargs), lambda: function(*args, **kwargs), **options)
        else:
            @functools.wraps(function)
            def cached(*args: Any, **kwargs: Any) -> Any:
                return cache.get_or_compute(cache_key(*args, **kwargs), lambda: function(*args, **kwargs), **options)

        cached.cache_key = cache_key   # type: ignore[attr-defined]
        cached.forget = lambda *args, **kwargs: cache.remove(cache_key(*args, **kwargs))   # type: ignore[attr-defined]
        return cached

    return decorate
