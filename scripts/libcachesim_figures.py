#!/usr/bin/env python3
"""The reference figures of src/simulate/replay_test.cc: libCacheSim on the blocks of a trace, each as a key of its own, and on a power law.

  pip install libcachesim==0.3.5
  scripts/libcachesim_figures.py tests/data/lmcache_agents.jsonl.gz
"""
import gzip
import json
import sys

import libcachesim

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


def power_law(accesses=200_000, keys=20_000):
    """With a scan of 2,000 keys before every 18,000 accesses."""
    state, made = 12345, []
    for i in range(accesses):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        uniform = (state >> 11) / 2**53
        made.append(int(keys**uniform) - 1 if i // 2000 % 10 else 1_000_000 + i)
    return made


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
