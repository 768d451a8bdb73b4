"""A real `tensorcache serve` with a real model. TENSORCACHE_BIN and TENSORCACHE_MODEL say which."""
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

LOAD_LIMIT_S, STOP_LIMIT_S, REPLY_LIMIT_S = 120, 60, 120


def needed(name):
    value = os.environ.get(name, "")
    if not Path(value).is_file():
        pytest.exit(f"{name} must name a file (./dev test sets it); it is '{value}'", returncode=2)
    return value


BINARY, MODEL = needed("TENSORCACHE_BIN"), needed("TENSORCACHE_MODEL")


def clean_environment(**more):
    return {name: value for name, value in os.environ.items() if not name.startswith("TENSORCACHE_")} | more


def run_binary(*arguments, timeout=60, **environment):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=timeout, env=clean_environment(**environment))


class Reply:
    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def json(self):
        return json.loads(self.body)

    @property
    def cache_status(self):
        return self.headers.get("cache-status", "")

    def error(self):
        return self.json()["error"]

    def events(self):
        """The objects of a stream, which must be ended as OpenAI's are."""
        lines = [line for line in self.body.decode().split("\n") if line.startswith("data: ")]
        assert lines[-1] == "data: [DONE]"
        return [json.loads(line[6:]) for line in lines[:-1]]


class Server:
    def __init__(self, process, log_path):
        self.process, self.log_path, self.port = process, log_path, 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def log(self):
        return self.log_path.read_text()

    def wait_for_log(self, pattern, limit_s=LOAD_LIMIT_S):
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.log()):
                return found
            assert self.process.poll() is None, self.log()
            time.sleep(0.02)
        raise AssertionError(f"'{pattern}' not logged within {limit_s} s:\n{self.log()}")

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REPLY_LIMIT_S)
        try:
            data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
            connection.request(method, path, data, {"Content-Type": "application/json"} | (headers or {}))
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def chat(self, text, headers=None, **fields):
        messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
        body = {"messages": messages, "temperature": 0, "max_tokens": 8} | fields
        return self.request("POST", "/v1/chat/completions", body, headers)

    def metric(self, name):
        """The sum of a metric over its labels."""
        text = self.request("GET", "/metrics").body.decode()
        values = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        assert values, f"no metric {name} in:\n{text}"
        return sum(map(float, values))

    def wait_until_idle(self, limit_s=20):
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if self.metric("tensorcache_engine_running") + self.metric("tensorcache_engine_queued") == 0:
                return
            time.sleep(0.05)
        raise AssertionError(f"the engine is still busy after {limit_s} s")

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(timeout=STOP_LIMIT_S)


def eventually(true_now, limit_s=20):
    deadline = time.monotonic() + limit_s
    while not true_now():
        assert time.monotonic() < deadline, f"not so within {limit_s} s"
        time.sleep(0.05)


@contextlib.contextmanager
def serving(folder, *flags, **environment):
    """A server of its own, stopped at the end, which must go well."""
    log_path = Path(folder) / f"serve-{time.monotonic_ns()}.log"
    if "--cache-dir" not in flags:   # each its own, and never the user's
        flags = (*flags, "--cache-dir", str(log_path.with_suffix(".store")))
    with open(log_path, "w") as log:
        process = subprocess.Popen([BINARY, "serve", "--model", MODEL, "--port", "0", "-c", "8192", "-np", "4", "-t", "2", *flags],
                                   stderr=log, env=clean_environment(**environment))
    server = Server(process, log_path)
    try:
        server.port = int(server.wait_for_log(r"listening on \S+:(\d+)").group(1))
        yield server
        if process.poll() is None:
            assert server.stop() == 0, server.log()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(shared_server):
    """The session's server; after each test it must still serve."""
    yield shared_server
    assert shared_server.process.poll() is None, shared_server.log()
    assert shared_server.chat("Still there?", max_tokens=1).status == 200
