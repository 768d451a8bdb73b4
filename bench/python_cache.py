#!/usr/bin/env python3
"""What a `get` of a 1 MiB NumPy array costs from Python: TensorCache, diskcache, Redis on loopback, a dict, functools.lru_cache.

All in one run on one machine: they take turns, a block of gets each, so that what else the machine does meets them alike.
`./dev bench python` installs what it needs and runs it. Ends with 1 if a goal of the issue is missed, with --check.
"""
import argparse
import functools
import hashlib
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import tensorcache

KEYS = 16
TOKENS = 32   # of a key
MOST_US, LEAST_TIMES = 2.0, 5.0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Redis:
    """A server of our own, without persistence; values as raw bytes, the fastest way through it."""

    def __init__(self, folder):
        import redis
        port = free_port()
        self.process = subprocess.Popen(["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", folder],
                                        stdout=subprocess.DEVNULL)
        self.client = redis.Redis(host="127.0.0.1", port=port)
        for _ in range(200):
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                time.sleep(0.05)
        raise SystemExit("redis-server does not answer")

    @staticmethod
    def name(key):
        return hashlib.sha256(np.array(key, np.int64).tobytes()).digest()

    def put(self, key, value):
        self.client.set(self.name(key), value.tobytes())

    def get(self, key):
        return np.frombuffer(self.client.get(self.name(key)), np.float32)

    def stop(self):
        self.client.close()
        self.process.terminate()
        self.process.wait(10)


def contenders(folder, arrays):
    """(name, get) of each, filled with the same values."""
    import diskcache
    memory, disk = tensorcache.TensorCache("256MiB"), tensorcache.TensorCache("256MiB", path=os.path.join(folder, "tensorcache"))
    files, plain, redis = diskcache.Cache(os.path.join(folder, "diskcache")), {}, Redis(folder)
    for key, value in arrays.items():
        memory.add(key, value)
        disk.add(key, value)
        files.set(key, value)
        redis.put(key, value)
        plain[key] = value
    disk.flush()
    remembered = functools.lru_cache(maxsize=1024)(plain.__getitem__)
    memoized = tensorcache.memoize(memory, name="bench")(plain.__getitem__)
    close = [memory.close, disk.close, files.close, redis.stop]
    return [("TensorCache", memory.get), ("TensorCache, get_or_compute", lambda key: memory.get_or_compute(key, lambda: plain[key])),
            ("TensorCache, @memoize", memoized), ("TensorCache, on disk too", disk.get), ("diskcache", files.get), ("Redis, loopback", redis.get),
            ("dict", plain.get), ("functools.lru_cache", remembered)], close


def versions():
    import diskcache
    redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout.split("v=")[1].split()[0]
    return f"Python {platform.python_version()}, NumPy {np.__version__}, diskcache {diskcache.__version__}, Redis {redis}"


def measure(get, keys, gets):
    """Nanoseconds of each get. The clock's own cost is in them."""
    times = []
    for number in range(gets):
        key = keys[number % len(keys)]
        begin = time.perf_counter_ns()
        value = get(key)
        times.append(time.perf_counter_ns() - begin)
        del value
    return times


def run(blocks, gets, bytes_):
    random = np.random.default_rng(1)
    arrays = {tuple(random.integers(0, 50_000, TOKENS).tolist()): random.random(bytes_ // 4, dtype=np.float32) for _ in range(KEYS)}
    keys = list(arrays)
    folder = tempfile.mkdtemp()
    close = []
    try:
        found, close = contenders(folder, arrays)
        times = {name: [] for name, _ in found}
        for name, get in found:
            assert all(np.array_equal(get(key), arrays[key]) for key in keys), f"{name} gives other bytes back"
        for _ in range(blocks):
            for name, get in found:
                # Slow ones get fewer: a median needs hundreds, not ten thousands.
                times[name] += measure(get, keys, gets if name not in ("diskcache", "Redis, loopback") else max(gets // 20, 5))
        return {name: (statistics.median(all_) / 1000, statistics.quantiles(all_, n=100)[98] / 1000) for name, all_ in times.items()}
    finally:
        for end in close:
            end()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--blocks", type=int, default=20, help="turns that each takes")
    parser.add_argument("--gets", type=int, default=2000, help="gets a turn")
    parser.add_argument("--bytes", type=int, default=1 << 20, help="of a value")
    parser.add_argument("--check", action="store_true", help="end with 1 if TensorCache takes more than 2 us, or is not 5 times as fast as diskcache and Redis")
    options = parser.parse_args()
    result = run(options.blocks, options.gets, options.bytes)
    ours = result["TensorCache"][0]
    print(f"get of a {options.bytes / (1 << 20):g} MiB float32 array, key: a tuple of {TOKENS} tokens. {versions()}; load {os.getloadavg()[0]:.1f}\n")
    print(f"{'':28}{'median, us':>12}{'99 %, us':>12}{'of TensorCache':>16}")
    for name, (median, high) in result.items():
        print(f"{name:28}{median:12.2f}{high:12.2f}{median / ours:15.2f}x")
    print("\nA dict and lru_cache give the same writable object to all, bound no bytes, and hash the key with Python's hash; what TensorCache takes beside that is a\n"
          "SHA-256 of the key, a pin, and a read-only array. lru_cache bounds a number of entries only.")
    missed = [f"{ours:.2f} us is more than {MOST_US}"] if ours > MOST_US else []
    missed += [f"{name}: {result[name][0] / ours:.1f} times, not {LEAST_TIMES}" for name in ("diskcache", "Redis, loopback") if result[name][0] < LEAST_TIMES * ours]
    for line in missed:
        print("missed:", line)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
