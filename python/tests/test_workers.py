"""Several processes and one path: what the second is told, and the example of docs/python.md."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tensorcache import CacheManager, PathInUseError, TensorCache

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = next(block for block in re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/python.md").read_text(), re.MULTILINE | re.DOTALL)
               if "def open_for_this_worker" in block)


def start(code, *arguments):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_second_process_is_told_what_to_do(tmp_path):
    with TensorCache("8MiB", path=tmp_path) as cache:
        process = start("import sys; from tensorcache import TensorCache; TensorCache(path=sys.argv[1])", tmp_path)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        last = errors.strip().splitlines()[-1]
        for word in ("PathInUseError", str(tmp_path), "worker-1", "os.getpid()", "one process", "gunicorn", "docs/python.md"):
            assert word in last, word
        for opened in (TensorCache, CacheManager):
            with pytest.raises(PathInUseError):
                opened("8MiB", path=tmp_path)
        assert cache.add("k", "v") and cache.get("k") == "v"


def test_other_errors_of_a_path_stay_what_they_are(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError) as caught:
        TensorCache("8MiB", path=tmp_path / "file" / "folder")
    assert not isinstance(caught.value, PathInUseError)


def test_each_worker_has_a_directory_and_finds_it_again(tmp_path):
    code = EXAMPLE + """
import sys
with open_for_this_worker(sys.argv[1], "8MiB", "64MiB") as cache:
    print(cache.get_or_compute("k", lambda: "computed " + sys.argv[2]), flush=True)
    sys.stdin.readline()
"""
    shown = []
    for turn in ("first", "second"):
        workers = [start(code, tmp_path, turn) for _ in range(2)]
        try:
            shown.append([worker.stdout.readline() for worker in workers])
        finally:
            ends = [worker.communicate("\n", timeout=60) for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0], ends
    assert shown == [["computed first\n"] * 2] * 2, "after a restart nothing is computed"
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["worker-0", "worker-1"]
