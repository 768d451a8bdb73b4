#!/usr/bin/env python3
"""The reference figures of src/tools/simulate/replay_test.cc: libCacheSim on the blocks of a trace, each as a key of its own, and on a power law.

  pip install libcachesim==0.3.5
  scripts/libcachesim_figures.py tests/data/lmcache_agents.jsonl.gz
"""
import gzip
import json
import sys

import libcachesim

from answer_traces import power_law

POLICIES = {
    "fifo": libcachesim.FIFO, "lru": libcachesim.LRU, "lfu": libcachesim.LFU, "clock": libcachesim.Clock, "sieve": libcachesim.Sieve,
    "s3fifo": libcachesim.S3FIFO, "arc": libcachesim.ARC, "wtinylfu": libcachesim.WTinyLFU, "gdsf": libcachesim.GDSF,
}
SHARES = [0.01, 0.05, 0.1, 0.2, 0.5]


def miss_ratio(policy, size, keys):
    cache = policy(cache_size=size)
    misses = 0
    for i, key in enumerate(keys):
        request = libcachesim.Request()
        request.obj_id, request.obj_size, request.clock_time = key + 1, 1, i
        misses += not cache.get(request)
    return misses / len(keys)


def show(keys):
    distinct = len(set(keys))
    print(f"libCacheSim {libcachesim.__version__}, {len(keys)} accesses, {distinct} distinct")
    for name, policy in POLICIES.items():
        print(name, [round(miss_ratio(policy, max(1, round(share * distinct)), keys), 5) for share in SHARES])


def main():
    show([block for line in gzip.open(sys.argv[1], "rt") for block in json.loads(line)["hash_ids"]])
    show(power_law())


if __name__ == "__main__":
    main()
