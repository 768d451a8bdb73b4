"""What Python wrote, C++ reads, and the reverse (tests/interop/interop.cc)."""
import os
import subprocess

import numpy as np
import pytest

from tensorcache import TensorCache

PROGRAM = os.environ.get("TENSORCACHE_INTEROP")
pytestmark = pytest.mark.skipif(not PROGRAM, reason="TENSORCACHE_INTEROP names no program (./dev test sets it)")


def run(command, directory):
    done = subprocess.run([PROGRAM, command, str(directory)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_cpp_wrote(tmp_path):
    run("write", tmp_path)
    with TensorCache("16MiB", path=tmp_path) as cache:
        matrix = cache.get((1, 2, 3))
        assert matrix.dtype == np.float32 and not matrix.flags.writeable
        np.testing.assert_array_equal(matrix, np.arange(1, 7, dtype=np.float32).reshape(2, 3))
        assert cache.get("text") == "héllo" and cache.get(b"by") == b"\0\1"
        one, two = cache.get("pair")
        np.testing.assert_array_equal(one, matrix)
        assert two == {"label": "label", "n": 7}
        assert cache.get("tagged") == "x" and cache.get("invalid") is None
        cache.invalidate("python")
        assert cache.get("tagged") is None
    with TensorCache("16MiB", path=tmp_path, name="named") as cache:
        assert cache.get("k") == "of the named one"


def test_what_python_wrote(tmp_path):
    with TensorCache("16MiB", path=tmp_path) as cache:
        cache.add((4, 5, 6), np.array([[1.5, 2.5], [3.5, 4.5]]))
        cache.add("text", "héllo")
        cache.add(b"by", b"\0\1")
        cache.add("pair", (np.array([1, 2], np.int16), {"label": "label", "n": 7}))
        cache.add("columns", np.asfortranarray(np.zeros((2, 3))))
        cache.add("tagged", "x", tags=["a"])
        cache.add("invalid", "x", tags=["b"])
        cache.invalidate("b")
        cache.add_nothing("nothing", ttl=3600)
    with TensorCache("16MiB", path=tmp_path, name="named") as cache:
        cache.add("k", "v")
    run("read", tmp_path)
