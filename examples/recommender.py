#!/usr/bin/env python3
"""A recommender's embedding cache: each request ranks a user's candidates by an item tower, and popular items come again and again.

Shows: batches that compute only what is missing, a limit in bytes that holds, invalidation of all embeddings when the model changes, in O(1).
Does not show: a trained model. The tower is a real network of four layers with random weights; requests are drawn from a Zipf distribution."""
import numpy as np
from local_server import seconds

from tensorcache import TensorCache

ITEMS, FEATURES, WIDTH, DIMENSIONS, REQUESTS, CANDIDATES = 20_000, 256, 1024, 256, 100, 200


class ItemTower:
    def __init__(self, seed):
        random = np.random.default_rng(seed)
        widths = [FEATURES, WIDTH, WIDTH, WIDTH, DIMENSIONS]
        self.layers = [random.normal(0, (2 / m) ** 0.5, (m, n)).astype(np.float32) for m, n in zip(widths, widths[1:])]
        self.features = random.normal(size=(ITEMS, FEATURES)).astype(np.float32)
        self.computed = 0

    def embed(self, items):
        """[n] item numbers -> [n, DIMENSIONS] float32"""
        self.computed += len(items)
        out = self.features[items]
        for layer in self.layers:
            out = np.maximum(out @ layer, 0)
        return out


def requests():
    random = np.random.default_rng(3)
    for _ in range(REQUESTS):
        drawn = random.zipf(1.3, 20 * CANDIDATES)
        yield random.normal(size=DIMENSIONS).astype(np.float32), list(dict.fromkeys((drawn[drawn <= ITEMS] - 1).tolist()))[:CANDIDATES]


def rank(user, items, vectors):
    return [items[i] for i in np.argsort(-(np.stack(vectors) @ user), kind="stable")[:10]]


def main():
    tower = ItemTower(1)
    plain, without = seconds(lambda: [rank(user, items, tower.embed(items)) for user, items in requests()])
    asked, tower.computed = tower.computed, 0
    with TensorCache("32MiB", policy="s3fifo") as cache:

        def top(user, items):
            keys = [("item", "tower-1", item) for item in items]
            vectors = cache.get_or_compute_many(keys, lambda missing: list(tower.embed([key[2] for key in missing])), tags=["tower-1"])
            return rank(user, items, vectors)

        ranked, with_cache = seconds(lambda: [top(user, items) for user, items in requests()])
        # The arithmetic of a batch depends on its shape, in the last bits: two items as good as equal may change places.
        same = sum(len(set(a) & set(b)) for a, b in zip(plain, ranked)) / (10 * REQUESTS)
        assert same > 0.99 and tower.computed < asked / 2 and cache.stats()["peak_bytes"] <= 32 << 20
        print(f"{REQUESTS} requests, {asked} embeddings asked for, {tower.computed} computed; {100 * same:.1f} % of the recommendations are the same")
        print(f"without a cache {without:.2f} s, with it {with_cache:.2f} s ({without / with_cache:.1f} times as fast)")
        _, took = seconds(lambda: cache.invalidate("tower-1"))   # a new model comes
        assert not any(("item", "tower-1", item) in cache for item in range(50))
        print(f"all of them invalidated in {1e6 * took:.0f} us")


if __name__ == "__main__":
    main()
