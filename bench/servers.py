"""Child processes on loopback that end with this one, and how to ask them."""
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

STOP_LIMIT_S = 20


class CannotRun(Exception):
    pass


def say(text):
    print(text, file=sys.stderr, flush=True)


def die_with_parent():
    """In a child: if this script is killed outright, its servers end too."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def environment():
    """What the user configured for their own server must not change what is compared."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TENSORCACHE_", "LLAMA_ARG_"))}
    return kept | {"TENSORCACHE_CONFIG": os.devnull}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, log_path=None):
    output = open(log_path, "wb") if log_path else subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment(),
                               preexec_fn=die_with_parent)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if log_path:
            output.close()


def healthy(url):
    try:
        with urllib.request.urlopen(url + "/health", timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def call(url, body=None):
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=30) as reply:
        return json.load(reply)
