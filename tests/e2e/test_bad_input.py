"""Wrong requests, wrong clients, wrong starts: a clear error, and the server goes on."""
import json
import re
import signal
import socket
import threading
import time

import pytest
import words
from conftest import MODEL, run_binary, serving

CHAT = "/v1/chat/completions"
GOOD = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}


@pytest.mark.parametrize("change, param", [
    ({"messages": []}, "messages"), ({"messages": "hi"}, "messages"), ({"messages": [{"role": "robot", "content": "x"}]}, "messages"),
    ({"messages": [{"role": "user"}]}, "messages"), ({"temperature": "hot"}, "temperature"), ({"temperature": -1}, "temperature"),
    ({"max_tokens": -5}, "max_tokens"), ({"max_tokens": 1.5}, "max_tokens"), ({"n": 2}, "n"), ({"top_p": 7}, "top_p"), ({"stop": 5}, "stop"),
    ({"stream": "yes"}, "stream"), ({"logit_bias": {"999999": 1}}, "logit_bias"), ({"tools": [{"type": "function"}]}, "tools"),
    ({"response_format": {"type": "xml"}}, "response_format"), ({"grammar": "root ::= nowhere"}, "grammar"), ({"top_logprobs": 3}, "top_logprobs"),
    ({"json_schema": {"$ref": "#/nowhere"}}, "response_format"), ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools"),
])
def test_a_wrong_field_is_named(server, change, param):
    reply = server.request("POST", CHAT, GOOD | change)
    assert reply.status == 400, reply.body
    error = reply.error()
    assert error["type"] == "invalid_request_error" and (error["param"] or "").startswith(param) and param in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"messages": NaN}', b"[]", b"null", b'{"messages":[{"role":"user","content":"\xff\xfe"}]}',
                                  b'{"temperature": Infinity, ' + json.dumps(GOOD).encode()[1:], b"[" * 5_000_000 + b"]" * 5_000_000,
                                  b'{"messages":' + b'{"a":' * 1_000_000])
def test_what_is_no_json_is_said_so(server, body):
    begin = time.monotonic()
    reply = server.request("POST", CHAT, body)
    assert reply.status in (400, 413) and reply.error()["message"]
    assert time.monotonic() - begin < 10


def test_an_unknown_model_and_path(server):
    reply = server.request("POST", CHAT, GOOD | {"model": "gpt-none", "max_tokens": 1, "bananas": 1})
    assert reply.status == 200 and reply.json()["model"] != "gpt-none" and reply.headers["tensorcache-ignored-fields"] == "bananas"
    assert server.request("GET", "/v1/nothing").status == 404
    assert server.request("GET", CHAT).status == 405


def test_a_huge_max_tokens_ends_with_the_context(server):
    # The stop string ends it; what is asked is that the number itself does no harm.
    reply = server.chat("Say a word.", max_tokens=2_000_000_000, stop=[" ", "."])
    assert reply.status == 200


def test_a_prompt_longer_than_the_context(server):
    reply = server.chat(words.text("overflow", 9000))
    assert reply.status == 400 and reply.error()["code"] == "context_length_exceeded"


def test_too_large_bodies_and_headers(tmp_path):
    with serving(tmp_path, "--max-body-size", "1MiB", "--max-header-size", "4KiB") as server:
        assert server.request("POST", CHAT, b" " * (2 << 20)).status == 413
        assert server.request("GET", "/health", headers={"X-Long": "x" * 8192}).status == 431
        assert server.request("GET", "/health").status == 200


def test_a_client_that_sends_nothing_is_let_go(tmp_path):
    with serving(tmp_path, "--request-timeout", "500ms", "--keep-alive-timeout", "1s") as server:
        for start in (b"", b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
                slow.sendall(start)
                while slow.recv(4096):   # an answer or nothing, then the end
                    pass
        assert server.request("GET", "/health").status == 200


def raw_request(server, body):
    """A request whose reply nobody reads yet."""
    data = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    return connection


def wait_for(condition, limit_s=30):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_clients_that_leave_free_their_place(tmp_path):
    with serving(tmp_path, "-np", "1") as server:
        long_body = {"messages": [{"role": "user", "content": words.text("leave", 1500)}], "max_tokens": 2000, "stream": True}
        running = raw_request(server, long_body)
        wait_for(lambda: server.metric("tensorcache_engine_running") == 1)
        queued = raw_request(server, long_body | {"seed": 5})
        wait_for(lambda: server.metric("tensorcache_engine_queued") == 1)
        queued.close()    # while it waits
        running.close()   # while its prompt is read
        server.wait_until_idle()
        streaming = raw_request(server, GOOD | {"max_tokens": 2000, "stream": True, "messages": [{"role": "user", "content": "Tell a long story."}]})
        assert b"200 OK" in streaming.recv(4096)
        streaming.close()
        server.wait_until_idle()
        assert server.metric("tensorcache_engine_cancelled_total") == 3
        assert server.chat("Hello").status == 200


def test_a_full_queue_is_said_with_when_to_come_again(tmp_path):
    with serving(tmp_path, "-np", "1", "--max-queue", "1") as server:
        busy = [raw_request(server, GOOD | {"max_tokens": 1500, "seed": i, "messages": [{"role": "user", "content": words.text(i, 900)}]}) for i in range(2)]
        wait_for(lambda: server.metric("tensorcache_engine_running") + server.metric("tensorcache_engine_queued") == 2)
        reply = server.chat("One too many.")
        assert reply.status == 503 and int(reply.headers["retry-after"]) >= 1
        [connection.close() for connection in busy]
        server.wait_until_idle()
        assert server.chat("One too many.").status == 200


def test_a_short_request_does_not_wait_for_a_long_prompt(tmp_path):
    with serving(tmp_path) as server:
        ended = {}

        def ask(name, text):
            assert server.chat(text, max_tokens=4).status == 200
            ended[name] = time.monotonic()
        long = threading.Thread(target=ask, args=("long", words.text("long", 1500)))
        long.start()
        wait_for(lambda: server.metric("tensorcache_engine_running") == 1)
        ask("short", "Hi")
        long.join()
        assert ended["short"] < ended["long"]


def test_sigterm_under_load_ends_cleanly(tmp_path):
    with serving(tmp_path, "--drain-timeout", "1s") as server:
        replies = []
        ask = lambda i: replies.append(server.chat(words.text(i, 300), max_tokens=1500))
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
        [thread.start() for thread in threads]
        wait_for(lambda: server.metric("tensorcache_engine_running") == 4)
        begin = time.monotonic()
        assert server.stop() == 0 and time.monotonic() - begin < 15
        [thread.join() for thread in threads]
        assert len(replies) == 6 and all(reply.status in (200, 503) for reply in replies)


def test_a_second_sigterm_ends_at_once(tmp_path):
    with serving(tmp_path, "--drain-timeout", "10m") as server:
        with raw_request(server, GOOD | {"max_tokens": 1900, "messages": [{"role": "user", "content": "Write a very long story."}]}):
            wait_for(lambda: server.metric("tensorcache_engine_running") == 1)
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_log("shutting down")
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(timeout=10) == 0


def test_models_that_are_none(tmp_path):
    missing, text, cut = tmp_path / "missing.gguf", tmp_path / "text.gguf", tmp_path / "cut.gguf"
    text.write_text("not a model")
    with open(MODEL, "rb") as model:
        cut.write_bytes(model.read(1_000_000))
    for path in (missing, text, cut):
        done = run_binary("serve", "--model", str(path), "--port", "0")
        assert done.returncode not in (0, -signal.SIGSEGV, -signal.SIGABRT) and str(path) in done.stderr and "--model" in done.stderr


@pytest.mark.parametrize("arguments, said", [
    (["serve", "--modle", "x.gguf"], "--model"), (["serve"], "--model"), (["serve", "-m", MODEL, "--memory", "8 bananas"], "--memory"),
    (["serve", "-m", MODEL, "--port", "99999"], "--port"), (["serve", "-m", MODEL, "--policy", "best"], "--policy"),
    (["serve", "-m", MODEL, "--host", "0.0.0.0"], "--allow-open-host"), (["serve", "-m", MODEL, "--config", "/nonexistent.toml"], "/nonexistent.toml"),
    (["serve", "-m", MODEL, "--cache-type-k", "q9"], "--cache-type-k"), (["srve"], "serve"), (["serve", "-m", MODEL, "--lora", "/none.gguf"], "/none.gguf"),
])
def test_a_wrong_option_is_named(arguments, said):
    done = run_binary(*arguments)
    assert done.returncode not in (0, -signal.SIGSEGV, -signal.SIGABRT) and said in done.stderr, done.stderr


def test_wrong_configuration_files_are_named(tmp_path):
    path = tmp_path / "config.toml"
    for text, said in (("[serve]\nprot = 1\n", "port"), ("[serve\n", str(path)), ('[serve]\nport = "x"\n', "port")):
        path.write_text(text)
        done = run_binary("serve", "-m", MODEL, "--config", str(path))
        assert done.returncode != 0 and said in done.stderr and "config.toml" in done.stderr, done.stderr


def test_a_port_that_is_taken_is_said(server):
    done = run_binary("serve", "-m", MODEL, "--port", str(server.port))
    assert done.returncode != 0 and str(server.port) in done.stderr


def test_options_precedence_is_command_line_environment_file(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[serve]\nctx-size = 1024\nparallel = 3\nthreads = 7\n")
    shown = run_binary("serve", "--config", str(path), "-c", "4096", "--print-config", TENSORCACHE_CTX_SIZE="2048", TENSORCACHE_PARALLEL="2").stdout
    value = lambda name: re.search(rf"^{name} = (\S+)", shown, re.MULTILINE).group(1)
    assert (value("ctx-size"), value("parallel"), value("threads")) == ("4096", "2", "7")


def test_the_load_generator_measures_the_running_server(server):
    done = run_binary("bench", "repeat", "--url", server.url, "--json", timeout=120)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["total"]["errors"] == 0 and report["phases"][1]["total_ms"]["p50"] < report["phases"][0]["total_ms"]["p50"]
