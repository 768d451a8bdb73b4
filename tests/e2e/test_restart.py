"""What was cached is there after any kind of stop."""
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import MODEL, run_binary, serving
from words import text


def document(number):
    return [{"role": "system", "content": f"Document {number}. " + text(number, 250)}]


def ask(server, messages, question, **fields):
    return server.chat([*messages, {"role": "user", "content": question}], **fields)


def cached_tokens(reply):
    return reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"]


def wait_until_written(server):
    server.wait_until_idle()
    deadline = time.monotonic() + 20
    while server.metric("tensorcache_disk_queued_bytes") > 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)   # the last batch may be on its way


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_answers_and_conversations_go_on_after_a_stop(tmp_path, stop):
    store = ("--cache-dir", str(tmp_path / "store"))
    with serving(tmp_path, *store) as server:
        first = ask(server, document(1), "What is it about?")
        streamed = ask(server, document(1), "Who wrote it?", stream=True)
        assert first.status == streamed.status == 200
        wait_until_written(server)
        server.stop(stop)
    with serving(tmp_path, *store) as server:
        again = ask(server, document(1), "What is it about?")
        assert again.cache_status == "TensorCache; hit; detail=answer"
        assert again.json()["choices"] == first.json()["choices"]
        assert int(again.headers["age"]) >= 0
        prompt = first.json()["usage"]["prompt_tokens"]
        other = ask(server, document(1), "What does it leave out?")
        assert cached_tokens(other) > 0.9 * prompt - 32
        assert "prefix" in other.cache_status
        assert server.metric("tensorcache_disk_hits_total") > 0
        assert server.request("GET", "/health").json()["disk"] == "ok"


def test_what_was_deleted_stays_deleted(tmp_path):
    store = ("--cache-dir", str(tmp_path / "store"))
    with serving(tmp_path, *store) as server:
        ask(server, document(2), "What is it about?")
        server.wait_until_idle()
        removed = server.request("DELETE", "/cache").json()
        assert removed["removed"] > 0 and "on_disk" not in removed
        server.stop(signal.SIGKILL)
    with serving(tmp_path, *store) as server:
        assert cached_tokens(ask(server, document(2), "What is it about?")) == 0


def test_tenants_stay_apart_after_a_restart(tmp_path):
    flags = ("--cache-dir", str(tmp_path / "store"), "--api-key-file", str(tmp_path / "keys"))
    (tmp_path / "keys").write_text("alice key-a admin\nbob key-b\n")
    (tmp_path / "keys").chmod(0o600)
    alice, bob = {"Authorization": "Bearer key-a"}, {"Authorization": "Bearer key-b"}
    with serving(tmp_path, *flags) as server:
        ask(server, document(3), "What is it about?", headers=alice)
        time.sleep(1)
    with serving(tmp_path, *flags) as server:
        assert cached_tokens(ask(server, document(3), "What is it about?", headers=bob)) == 0
        assert ask(server, document(3), "What is it about?", headers=alice).cache_status == "TensorCache; hit; detail=answer"


def test_a_second_server_on_the_same_directory_is_refused(tmp_path):
    with serving(tmp_path, "--cache-dir", str(tmp_path / "store")):
        second = run_binary("serve", "--model", MODEL, "--port", "0", "--cache-dir", str(tmp_path / "store"))
        assert second.returncode == 1
        assert "another process uses it" in second.stderr and str(tmp_path / "store") in second.stderr


def test_a_directory_deleted_under_it_only_costs_the_caching(tmp_path):
    store = tmp_path / "store"
    with serving(tmp_path, "--cache-dir", str(store)) as server:
        assert ask(server, document(4), "What is it about?").status == 200
        wait_until_written(server)
        shutil.rmtree(store.rename(tmp_path / "gone"))
        server.wait_for_log("the directory was deleted or replaced", 20)
        server.wait_for_log(": works again", 20)
        assert ask(server, document(5), "What is it about?").status == 200
        wait_until_written(server)
        assert server.request("GET", "/health").json() == {"status": "ok", "model": server.request("GET", "/v1/models").json()["data"][0]["id"],
                                                           "disk": "ok"}
        assert any(store.iterdir())
        assert server.metric("tensorcache_disk_write_errors_total") >= 1 and server.metric("tensorcache_disk_degraded") == 0


def test_kill_under_load_again_and_again(tmp_path):
    """Whatever the moment: the next start serves, and what it serves is what was computed."""
    store = ("--cache-dir", str(tmp_path / "store"))
    answers = {}
    for round_number in range(4):
        with serving(tmp_path, *store) as server:
            with ThreadPoolExecutor(4) as pool:
                def one(number):
                    try:
                        return number, ask(server, document(number), "What is it about?", max_tokens=4)
                    except OSError:   # killed
                        return number, None
                replies = [pool.submit(one, number) for number in range(10, 16)]
                time.sleep(0.5 + 0.7 * round_number)
                server.process.kill()
                server.process.wait()
                for reply in replies:
                    number, got = reply.result()
                    if got is not None and got.status == 200:
                        answer = got.json()["choices"][0]["message"]["content"]
                        assert answers.setdefault(number, answer) == answer or "hit" not in got.cache_status
