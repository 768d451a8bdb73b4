#!/usr/bin/env python3
"""Scoring triples of a knowledge graph: (head, relation, ?) against every entity, ComplEx, with the score vectors cached.

Shows: tuples as keys, large vectors as values without a copy, a cost for the policy, a byte budget, the same answers.
Does not show: a trained graph. The embeddings are random; the scoring is ComplEx's, and queries are drawn from a Zipf distribution."""
import numpy as np
from local_server import seconds

from tensorcache import TensorCache

ENTITIES, RELATIONS, DIMENSIONS, QUERIES = 10_000, 20, 128, 1000


class ComplEx:
    def __init__(self):
        random = np.random.default_rng(5)

        def vectors(count):
            return (random.normal(size=(count, DIMENSIONS)) + 1j * random.normal(size=(count, DIMENSIONS))).astype(np.complex64)

        self.entities, self.relations, self.runs = vectors(ENTITIES), vectors(RELATIONS), 0

    def score_all(self, head, relation):
        """[ENTITIES] float32: how likely (head, relation, each entity) is"""
        self.runs += 1
        return np.real(self.entities.conj() @ (self.entities[head] * self.relations[relation])).astype(np.float32)


def queries():
    random = np.random.default_rng(6)
    heads = random.zipf(1.5, 4 * QUERIES)
    return [(int(head), int(head * 7 % RELATIONS)) for head in heads if head < ENTITIES][:QUERIES]


def best(scores):
    return np.argpartition(-scores, 10)[:10].tolist()


def main():
    model, asked = ComplEx(), queries()
    plain, without = seconds(lambda: [best(model.score_all(*query)) for query in asked])
    model.runs = 0
    with TensorCache("4MiB", policy="gdsf") as cache:   # room for about 95 score vectors of 40 KB

        def scores(head, relation):
            return cache.get_or_compute(("complex/1", head, relation), lambda: model.score_all(head, relation), cost=0.0005)

        found, with_cache = seconds(lambda: [best(scores(*query)) for query in asked])
        assert found == plain and model.runs < QUERIES / 2 and cache.stats()["peak_bytes"] <= 4 << 20
        print(f"{QUERIES} queries, {len(set(asked))} different, {model.runs} computed within 4 MiB")
        print(f"without a cache {without:.2f} s, with it {with_cache:.2f} s ({without / with_cache:.1f} times as fast)")


if __name__ == "__main__":
    main()
