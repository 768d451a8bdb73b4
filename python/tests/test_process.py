"""Disks, forks, other processes, and the end of the interpreter."""
import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from tensorcache import CacheManager, TensorCache


def run(code, *arguments, timeout=60):
    return subprocess.run([sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code), *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout)


def test_values_are_there_again(tmp_path):
    value = {"logits": np.arange(1000, dtype=np.float32), "text": "hello"}
    with TensorCache("8MiB", path=tmp_path) as cache:
        cache.add((1, 2), value, tags=["t"])
        cache.add("gone", "x", tags=["old"])
        cache.add("removed", "x")
        cache.remove("removed")
        cache.invalidate("old")
        assert cache.flush()
        version = cache.entry((1, 2)).version
    with TensorCache("8MiB", path=str(tmp_path)) as cache:
        found = cache.get((1, 2))
        np.testing.assert_array_equal(found["logits"], value["logits"])
        assert cache.entry((1, 2)).version == version
        assert cache.get("gone") is None and cache.get("removed") is None
        assert len(cache) >= 1 and cache.stats()["disk_entries"] >= 1 and "on disk" in repr(cache)


def test_more_than_the_memory(tmp_path):
    with TensorCache("2MiB", path=tmp_path) as cache:
        for number in range(100):
            cache.add(number, np.full(100_000, number, np.uint8))
            if number % 2 == 0:
                assert cache.flush()
        assert cache.flush()
        assert all((cache.get(number) == number).all() for number in range(100))


def test_without_close_what_was_added_is_written_at_exit(tmp_path):
    code = """
        import sys
        from tensorcache import CacheManager
        manager = CacheManager("8MiB", path=sys.argv[1])
        manager.add("k", "v")
        manager.cache("named").add("k", "w")
    """
    done = run(code, tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stderr
    with TensorCache("8MiB", path=tmp_path) as cache:
        assert cache.get("k") == "v"
    with TensorCache("8MiB", path=tmp_path, name="named") as cache:
        assert cache.get("k") == "w"


def test_two_processes_on_one_path(tmp_path):
    with TensorCache("8MiB", path=tmp_path) as cache:
        cache.add("k", "v")
        done = run("import sys; from tensorcache import TensorCache; TensorCache(path=sys.argv[1])", tmp_path)
        assert done.returncode == 1 and "RuntimeError" in done.stderr and str(tmp_path) in done.stderr
        assert cache.get("k") == "v"
        with pytest.raises(RuntimeError, match="in use|uses|another"):
            TensorCache(path=tmp_path)
    with TensorCache("8MiB", path=tmp_path) as cache:
        assert cache.get("k") == "v"


def test_killed_with_a_refresh_and_a_view_alive():
    """The interpreter ends while a daemon thread computes and arrays point into the cache."""
    done = run("""
        import threading, time, numpy as np
        from tensorcache import TensorCache, CacheManager
        cache = TensorCache("64MiB")
        manager = CacheManager("64MiB")
        manager.cache("a").add("k", np.arange(5))
        cache.add("k", np.arange(100_000), ttl=0.01, stale=60)
        view = cache.get("k")
        time.sleep(0.02)
        cache.get_or_compute("k", lambda: time.sleep(60), ttl=0.01, stale=60)
        def use():
            while True:
                cache.get("k")
        for _ in range(2):
            threading.Thread(target=use, daemon=True).start()
        threading.excepthook = lambda *_: None   # they find the cache closed
        print(view[5])
    """)
    assert done.returncode == 0 and done.stdout == "5\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_gets_a_clear_error_and_can_open_its_own(tmp_path):
    cache = TensorCache("8MiB", path=tmp_path)
    cache.add("k", np.arange(1000))
    view, entry = cache.get("k"), cache.entry("k")
    stop = threading.Event()

    def busy():   # holds the cache's locks now and then
        while not stop.is_set():
            cache.add("busy", np.arange(50_000))

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    try:
                        cache.get("k")
                    except RuntimeError as error:
                        assert "forked" in str(error)
                        assert "fork" in repr(cache)
                        assert view[999] == 999, "what was got stays readable"
                        with TensorCache("8MiB") as own:
                            own.add("k", "mine")
                            assert own.get("k") == "mine"
                        cache.close()
                        del view, entry
                        code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()
    assert cache.get("k")[999] == 999
    cache.close()


def test_a_manager_on_disk(tmp_path):
    with CacheManager("8MiB", path=tmp_path) as manager:
        manager.cache("one").add("k", "1")
        manager.add("k", "default")
    with CacheManager("8MiB", path=tmp_path) as manager:
        assert manager.cache("one").get("k") == "1" and manager.get("k") == "default" and manager.cache("two").get("k") is None


def test_threads_run_while_values_are_copied(cache):
    """The GIL is let go of: another thread gets on while large arrays go in."""
    value, ticks, stop = np.zeros(20 << 20, np.uint8), [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(1)

    thread = threading.Thread(target=tick)
    thread.start()
    before = len(ticks)
    for _ in range(20):
        cache.add("k", value)
    during = len(ticks) - before
    stop.set()
    thread.join()
    assert during > 100


def test_the_end_of_the_interpreter_waits_for_who_is_inside(tmp_path):
    """Daemon threads that read a disk when it comes."""
    for _ in range(8):
        done = run("""
            import sys, threading, time, numpy as np
            from tensorcache import TensorCache
            cache = TensorCache("4MiB", path=sys.argv[1])
            for number in range(40):
                cache.add(number, np.zeros(300_000, np.uint8))
            cache.flush()
            threading.excepthook = lambda *_: None   # they find the cache closed
            def use():
                number = 0
                while True:
                    cache.get(number % 40)
                    cache.add(("x", number % 40), np.zeros(200_000, np.uint8))
                    number += 1
            for _ in range(4):
                threading.Thread(target=use, daemon=True).start()
            time.sleep(0.05)
        """, tmp_path)
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_never_waits_for_a_lock_of_its_parents():
    done = run("""
        import os, signal, threading, time, numpy as np
        from tensorcache import CacheManager
        manager = CacheManager("64MiB")
        cache, lease, stop = manager.cache("one"), manager.cache("one").lease("held"), False
        def busy():
            while not stop:
                cache.get_or_compute(time.time(), lambda: np.zeros(1 << 21, np.uint8))
                cache.clear()
                cache.lease("other").release()
        threads = [threading.Thread(target=busy) for _ in range(2)]
        [thread.start() for thread in threads]
        def fails(use):
            try:
                use()
            except RuntimeError:
                return True
        for _ in range(30):
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                uses = (lambda: cache.remove("k"), cache.clear, lambda: cache.get_or_compute("k", int), lambda: manager.cache("two"), manager.clear,
                        lambda: lease.add("v"), lambda: cache.lease("k"), lambda: cache.add("k", "v"), cache.stats)
                good = all([fails(use) for use in uses]) and not lease.held()
                lease.release()
                del lease
                os._exit(0 if good else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop = True
    """)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("waits", ['cache.get_or_compute("k", lambda: time.sleep(60))', 'cache.lease("k", timeout=60)', 'leader.start(), time.sleep(0.2), '
                                   'cache.get_or_compute("led", lambda: "v")', 'cache.get_or_compute_many(["led2", "k"], lambda keys: time.sleep(60))'])
def test_ctrl_c_is_heard(waits):
    done = run(f"""
        import os, signal, sys, threading, time
        from tensorcache import TensorCache
        cache = TensorCache("8MiB")
        held = cache.lease("k")
        leader = threading.Thread(target=lambda: cache.get_or_compute("led", lambda: time.sleep(2)))
        threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        begin = time.monotonic()
        try:
            {waits}
        except KeyboardInterrupt:
            print("heard" if time.monotonic() - begin < 1.5 else "late", len(cache))
        assert cache.get_or_compute("k", lambda: "v") == "v"
    """)
    assert done.stdout == "heard 0\n", done.stdout + done.stderr


def test_threads_run_while_one_waits_for_a_value_being_copied():
    """A get that finds nothing may wait for a compare-and-swap in progress: without the GIL, too. Others' work takes its turns on the cores as well, so
    what counts is how much of the writing time everybody stood still."""
    with TensorCache("1500MiB") as cache:
        value, gaps, adds, stop = np.ones(500 << 20, np.uint8), [], [], threading.Event()

        def add():
            version = 0
            for _ in range(10):
                begin = time.perf_counter()
                version = cache.put_if_version("k", version, value) or 0
                adds.append(time.perf_counter() - begin)
            stop.set()

        def miss():
            number = 0
            while not stop.is_set():
                cache.get(number)
                number += 1

        def tick():
            last = time.perf_counter()
            while not stop.is_set():
                now = time.perf_counter()
                gaps.append(now - last)
                last = now

        threads = [threading.Thread(target=work) for work in (add, miss, tick)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(0.0005)
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        sys.setswitchinterval(interval)
        assert sum(gap for gap in gaps if gap > 0.01) < sum(adds) / 2, (sorted(gaps)[-5:], adds)
