#!/usr/bin/env python3
"""The traces of independent keys in docs/policies.md.

  scripts/answer_traces.py tests/data/lmcache_agents.jsonl.gz FOLDER
  for trace in FOLDER/*; do build/release/tensorcache simulate "$trace" --policy lru,s3fifo,gdsf,guarded; done
"""
import gzip
import json
import random
import sys
from pathlib import Path


def power_law(accesses=200_000, keys=20_000):
    """With a scan of 2,000 keys before every 18,000 accesses."""
    state, made = 12345, []
    for i in range(accesses):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        uniform = (state >> 11) / 2**53
        made.append(int(keys**uniform) - 1 if i // 2000 % 10 else 1_000_000 + i)
    return made


def sized(accesses=200_000, keys=20_000):
    """A power law whose values have sizes from 100 bytes to 1 MB, whatever their popularity."""
    draw = random.Random(1)
    sizes = [round(100 * 10 ** draw.uniform(0, 4)) for _ in range(keys)]
    for _ in range(accesses):
        key = int(keys ** draw.random()) - 1
        yield f"{key},{sizes[key]}"


def soon_again(accesses=200_000):
    """Each key comes again once, after some thousand others, and then never."""
    draw = random.Random(2)
    due, new = [[] for _ in range(accesses + 8_000)], 0
    for i in range(accesses):
        if due[i]:
            key = due[i].pop()
            due[i + 1] += due[i]
        else:
            key, new = new, new + 1
            due[i + 1_000 + draw.randrange(5_000)].append(key)
        yield key


def in_turns(accesses=100_000):
    """Scans, then what comes soon again, then scans, ..."""
    scans, soon = iter(power_law(2 * accesses)), iter(soon_again(2 * accesses))
    for i in range(4 * accesses):
        yield next(scans) if i // accesses % 2 == 0 else 10_000_000 + next(soon)


def main():
    blocks = [block for line in gzip.open(sys.argv[1], "rt") for block in json.loads(line)["hash_ids"]]
    traces = {"lmcache.txt": blocks, "scans.txt": power_law(), "soon.txt": soon_again(), "turns.txt": in_turns(), "sized.csv": sized()}
    for name, lines in traces.items():
        Path(sys.argv[2], name).write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
