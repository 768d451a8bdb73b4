"""What a type checker is to make of the package (test_types.py); it is not run."""
from decimal import Decimal
from typing import Any, List, Optional

import numpy as np
from typing_extensions import assert_type

from tensorcache import CacheManager, Entry, TensorCache, memoize, register_type
from tensorcache.python.tensorcache import TensorCache as Classic

cache = TensorCache("2GiB", policy="gdsf", ttl=60)
classic = Classic(cache_size=1024)
assert_type(cache.add((1, 2), np.zeros(3), ttl=5.0, stale=1, tags=["a"], cost=0.1), int)
assert_type(cache.get((1, 2)), Any)
assert_type(cache.entry("k"), Optional[Entry])
assert_type(cache.get_or_compute("k", lambda: 5, negative_ttl=3, ttl=5), int)
assert_type(cache.get_or_compute_many(["k"], lambda keys: [str(key) for key in keys]), List[Any])
with cache.lease("k") as lease:
    assert_type(lease.add("x", ttl=5), int)
with CacheManager("1GiB", path="folder") as manager:
    assert_type(manager.cache("x"), TensorCache)
    manager.add("k", "v", tags=("a",))
register_type(Decimal, to_tree=str, from_tree=lambda tree: Decimal(tree))


@memoize(cache, ttl=5)
def area(width: int, height: float = 2) -> float:
    return width * height


assert_type(area(3, height=4), float)
assert_type(area.forget(3), bool)
cache.get(area.cache_key(3))


@memoize(cache)
async def fetch(page: str) -> bytes:
    return page.encode()


async def main() -> None:
    assert_type(await fetch("page"), bytes)
    assert_type(await cache.aget_or_compute("k", lambda: "v"), str)
    assert_type(await cache.aadd("k", "v", ttl=3), int)


# And what it is to refuse.
cache.add("k", "v", tll=5)   # type: ignore[call-arg]
cache.add("k", "v", ttl="5")   # type: ignore[arg-type]
area("3")   # type: ignore[arg-type]
TensorCache(1.5)   # type: ignore[arg-type]
memoize(5)   # type: ignore[arg-type]
register_type(Decimal, 5, Decimal)   # type: ignore[arg-type]
