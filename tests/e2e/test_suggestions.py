"""What README and the demo suggest to type works as it stands there, and is quick."""
import contextlib
import functools
import importlib.util
import io
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 5


def run(command):
    begin = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout, time.monotonic() - begin


@functools.cache
def busy_s():
    """How long this machine, busy as it is, takes for a command that does nothing here: a second where it is idle."""
    return run([sys.executable, "-c", "import openai"])[1]


def timed(command):
    out, seconds = run(command)
    assert seconds <= LIMIT_S + 3 * busy_s(), f"{command} took {seconds:.1f} s"
    return out


def demo_text(url, name):
    spec = importlib.util.spec_from_file_location("demo", ROOT / "scripts" / "demo.py")
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        demo.what_to_try(url, name)
    return shown.getvalue()


def python_of(text):
    """The indented lines from the import of openai on, as a program."""
    lines = text[text.index("  from openai import"):].split("\n")
    program = lines[:next(i for i, line in enumerate(lines) if line and not line.startswith("  "))]
    return "\n".join(line[2:] for line in program)


def test_readme_python_is_answered_from_the_cache_the_second_time(server):
    block = re.search(r"```python\n(from openai.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    program = block.replace("http://127.0.0.1:8080", server.url)
    assert program != block
    first, second = timed([sys.executable, "-c", program]).splitlines()
    assert first.startswith("computed") and second.startswith("from the cache TensorCache; hit; detail=answer")


def test_the_demos_commands(server):
    text = demo_text(server.url, server.request("GET", "/v1/models").json()["data"][0]["id"])
    curls = re.findall(r"(curl .*?)(?:\s{3,}|$)", text, re.MULTILINE)
    assert len(curls) == 3
    for _ in range(2):
        shown = [timed(["sh", "-c", curl + " -sS"]) for curl in curls]
    assert "hit; detail=answer" in shown[0] and "Paris" in shown[0]
    assert '"entries"' in shown[1] and "tensorcache_ready 1" in shown[2]
    assert "from the cache TensorCache; hit" in timed([sys.executable, "-c", python_of(text)])


def test_help_and_lists_are_quick():
    from conftest import BINARY
    for arguments in (["help"], ["version"], ["policies"], ["serve", "--help"], ["simulate", "--help"], ["serve", "m.gguf", "--print-config"]):
        assert timed([BINARY, *arguments])
