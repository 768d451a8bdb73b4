"""The cache's size while the server runs: the configuration file again at SIGHUP, and --memory auto on a real machine."""
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

import conftest
from conftest import eventually, serving
from test_restart import ask, document

MIB = 1 << 20
CGROUPS = Path("/sys/fs/cgroup")


def config_of(server):
    return server.request("GET", "/cache/config").json()


def hang_up(server, said):
    before = server.log().count("SIGHUP: ")
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: server.log().count("SIGHUP: ") > before and said in server.log())


def test_sighup_reads_the_file_again(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[serve]\nmemory = "64MiB"\ndisk-size = "128MiB"\n')
    with serving(tmp_path, "--config", str(path), "--log-format", "json", TENSORCACHE_MAX_QUEUE="50") as server:
        path.write_text('[serve]\nmemory = "32MiB"\ndisk-size = "64MiB"\nlog-level = "debug"\nlog-format = "text"\nbatch-size = 256\nmax-queue = 7\n')
        hang_up(server, "SIGHUP: these changes require a restart: batch-size\"")
        for change in "memory: 32MiB (was 64MiB)", "disk-size: 64MiB (was 128MiB)", "log-level: debug (was info)":
            assert f"SIGHUP: {change}" in server.log(), server.log()
        eventually(lambda: config_of(server) == {"memory": 32 * MIB, "memory_auto": False, "disk_size": 64 * MIB})
        eventually(lambda: server.metric("tensorcache_cache_capacity_bytes") == 32 * MIB)

        path.write_text('[serve]\nmemory = "16MiB"\nmemori = 1\n')
        hang_up(server, f"SIGHUP: the running configuration is kept: {path}:3: memori: unknown option; did you mean memory?")
        path.unlink()
        hang_up(server, f"SIGHUP: the running configuration is kept: {path}: there is no such file")
        assert config_of(server)["memory"] == 32 * MIB
        path.write_text('[serve]\nmemory = "auto"\n')
        hang_up(server, "SIGHUP: memory: auto (was 32MiB)")
        assert config_of(server)["memory_auto"] is True
        assert server.chat("Hello", max_tokens=1).status == 200


def test_many_sighups_at_once_do_not_end_it(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[serve]\nmemory = "64MiB"\n')
    with serving(tmp_path, "--config", str(path), "--log-level", "debug") as server:
        assert server.chat("Hello", max_tokens=1).status == 200
        for _ in range(20):
            server.process.send_signal(signal.SIGHUP)
        eventually(lambda: "configuration reloaded, no changes" in server.log())
        assert server.chat("Hello again", max_tokens=1).status == 200


class Hog:
    """Memory that really is in use, and given back."""
    def __init__(self, size):
        self.bytes = bytearray(size)
        self.bytes[::4096] = b"x" * len(range(0, size, 4096))

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.bytes = None


def available():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/meminfo") if line.startswith("MemAvailable:"))


def test_auto_gives_memory_to_others_and_takes_it_back_slowly(tmp_path):
    with serving(tmp_path, "--memory", "auto", "--memory-share", "40", "--disk", "off") as server:
        first = config_of(server)
        assert first["memory_auto"] is True
        assert 0.2 * available() < first["memory"] < 0.6 * available()
        assert server.request("GET", "/cache").json()["automatic"] is True
        assert server.metric("tensorcache_memory_automatic") == 1
        with Hog(available() // 4):
            eventually(lambda: config_of(server)["memory"] < 0.85 * first["memory"], 5)
            low = config_of(server)["memory"]
            assert "the cache shrinks from" in server.log()
        time.sleep(2)
        assert config_of(server)["memory"] < 1.15 * low, "it grows slowly"
        eventually(lambda: config_of(server)["memory"] > low, 45)
        assert server.request("PUT", "/cache/config", {"memory": "48MiB"}).json()["memory"] == 48 * MIB
        time.sleep(1.5)
        assert config_of(server) == {"memory": 48 * MIB, "memory_auto": False}
        assert server.request("PUT", "/cache/config", {"memory": "auto"}).json()["memory_auto"] is True


@contextlib.contextmanager
def cgroup(limit):
    """A cgroup of version 1 or 2 with a limit, and what says how much of it is in use that is not idle files."""
    v1 = (CGROUPS / "memory" / "memory.limit_in_bytes").exists()
    folder = (CGROUPS / "memory" if v1 else CGROUPS) / f"tensorcache-test-{os.getpid()}"
    try:
        folder.mkdir()
        limit_file = folder / ("memory.limit_in_bytes" if v1 else "memory.max")
        limit_file.write_text(str(limit))
    except OSError as error:
        if folder.exists():
            folder.rmdir()
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        def in_use():
            stat = dict(line.split() for line in open(folder / "memory.stat"))
            used = int((folder / ("memory.usage_in_bytes" if v1 else "memory.current")).read_text())
            return used - int(stat["total_inactive_file" if v1 else "inactive_file"])
        yield folder, limit_file, in_use
    finally:
        eventually(lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


def test_auto_keeps_within_a_cgroup_whose_limit_is_lowered(tmp_path, monkeypatch):
    """Also without the pressure of a kernel that does not say it (version 1)."""
    with cgroup(768 * MIB) as (folder, limit, in_use):
        inside = tmp_path / "inside"
        inside.write_text(f'#!/bin/sh\necho $$ > {folder}/cgroup.procs && exec {conftest.BINARY} "$@"\n')
        inside.chmod(0o755)
        monkeypatch.setattr(conftest, "BINARY", str(inside))
        with serving(tmp_path, "--memory", "auto", "--disk", "off", "-ctk", "f32", "-ctv", "f32") as server:   # twice the bytes a token
            assert server.metric("tensorcache_memory_total_bytes") == 768 * MIB
            assert 150 * MIB < config_of(server)["memory"] <= 384 * MIB
            for i in range(8):
                assert ask(server, document(i), "What is it about?", max_tokens=1).status == 200
            used = server.metric("tensorcache_cache_used_bytes")
            assert used > 80 * MIB, "the documents are too short for this test"
            limit.write_text(str(in_use() + 30 * MIB))
            eventually(lambda: config_of(server)["memory"] < used, 5)
            eventually(lambda: server.metric("tensorcache_cache_used_bytes") < used, 5)
            assert ask(server, document(99), "What is it about?", max_tokens=1).status == 200, "it was not killed"
