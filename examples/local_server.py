"""Starts `tensorcache serve` for the examples that need one, on a free port of this machine.

TENSORCACHE_BIN names the binary (build/release/tensorcache), TENSORCACHE_MODEL the GGUF model (./dev demo downloads one)."""
import contextlib
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = os.environ.get("TENSORCACHE_MODEL") or next(
    map(str, (Path.home() / ".cache/tensorcache-dev/models").glob("*.gguf")), "")
BINARY = os.environ.get("TENSORCACHE_BIN", str(ROOT / "build/release/tensorcache"))


@contextlib.contextmanager
def serving(*flags):
    """The base URL of a server that is stopped at the end."""
    for what, path in (("TENSORCACHE_BIN", BINARY), ("TENSORCACHE_MODEL", MODEL)):
        if not Path(path).is_file():
            raise SystemExit(f"{what} must name a file; it is '{path}'. ./dev build and ./dev demo make them")
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([BINARY, "serve", "--model", MODEL, "--port", "0", "-c", "8192", "-np", "2", *flags], stderr=log)
        try:
            for _ in range(1200):
                log.seek(0)
                text = log.read()
                if found := re.search(r"listening on \S+:(\d+)", text):
                    break
                if process.poll() is not None:
                    raise SystemExit(f"the server did not start:\n{text}")
                time.sleep(0.1)
            yield f"http://127.0.0.1:{found.group(1)}/v1"
        finally:
            process.terminate()
            process.wait(60)


def seconds(action):
    """What it returned, and how long it took."""
    begin = time.perf_counter()
    result = action()
    return result, time.perf_counter() - begin
