"""A server as its operator sees it: what it logs, and what stops it."""
import json
import os
import pty
import re
import signal
import time

from conftest import BINARY, LOAD_LIMIT_S, MODEL, clean_environment, eventually, run_binary, serving

SMALL = ("-c", "2048", "--memory", "64MiB", "--port", "0")


def test_the_start_says_what_holds(tmp_path):
    store = str(tmp_path / "store")
    with serving(tmp_path, "--cache-dir", store) as server:
        log = server.log()
        assert re.search(r"4 requests at once, 2048 tokens of context for each, 2 threads", log)
        assert re.search(r"policy auto", log) and f"disk cache {store}: nothing found, 20GiB at most" in log
        assert "written there unencrypted" in log
        assert server.chat("Remember me.").status == 200
    with serving(tmp_path, "--cache-dir", store) as server:
        assert re.search(rf"disk cache {store}: [1-9]\d* entries, \S+ found, 20GiB at most", server.log())


def test_each_request_is_a_line_and_never_its_text(tmp_path):
    with serving(tmp_path, "--log-format", "json") as server:
        for request_id in ("mine-1", "mine-2"):
            assert server.chat("A secret word: xylophone.", headers={"X-Request-Id": request_id}).headers["x-request-id"] == request_id
        assert server.chat("Hi", headers={"X-Request-Id": "x" * 10_000}).headers["x-request-id"].startswith("req_")
        assert server.request("GET", "/v1/nothing").status == 404
        eventually(lambda: "/v1/nothing" in server.log())
        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    requests = {line["id"]: line for line in lines if "status" in line}
    first, second = requests["mine-1"], requests["mine-2"]
    assert (first["status"], first["answer"], second["answer"]) == (200, "computed", "stored"), (first, second)
    assert first["output_tokens"] > 0 and second["cached_tokens"] == second["prompt_tokens"]
    assert any(line["status"] == 404 for line in requests.values())
    assert "xylophone" not in server.log()


def started_in_a_terminal(tmp_path, command):
    """The server's pid and the terminal that it was started from."""
    log, pid_file = tmp_path / "log", tmp_path / "pid"
    shell, terminal = pty.fork()
    if shell == 0:
        os.execvpe("bash", ["bash", "--norc", "-i"], clean_environment(HOME=str(tmp_path), PS1="$ "))
    os.write(terminal, f"{command} '{BINARY}' serve '{MODEL}' {' '.join(SMALL)} --disk off > {log} 2>&1 & echo $! > {pid_file}\n".encode())
    eventually(lambda: log.exists() and "listening on" in log.read_text(), LOAD_LIMIT_S)
    return int(pid_file.read_text()), terminal, log


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_under_nohup_it_outlives_its_terminal(tmp_path):
    pid, terminal, log = started_in_a_terminal(tmp_path, "nohup")
    os.close(terminal)
    time.sleep(2)
    assert alive(pid), log.read_text()
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not alive(pid))


def test_without_it_stops_with_its_terminal(tmp_path):
    pid, terminal, _ = started_in_a_terminal(tmp_path, "")
    os.close(terminal)
    eventually(lambda: not alive(pid))


def test_wrong_starts_say_what_to_do(tmp_path):
    for arguments, code, said in [(("serve", "-hf", "a/b"), 2, "downloads are not built in"),
                                  (("serve", "/nonexistent.gguf"), 1, "--model: /nonexistent.gguf: cannot be loaded"),
                                  (("serve", "a.gguf", "b.gguf"), 2, "b.gguf: one model at a time"),
                                  (("serve", "--temp", "0"), 2, "sampl"),
                                  (("serve", "m.gguf", "--max-queue-per-tenant", "x"), 2, "--max-queue-per-tenant")]:
        done = run_binary(*arguments, HOME=str(tmp_path))
        assert done.returncode == code and said in done.stderr, (arguments, done)
    assert not (tmp_path / ".cache").exists()
    (tmp_path / "config.toml").write_text("[serve]\nmemory = 1GiB\n")
    done = run_binary("serve", "m.gguf", "--config", str(tmp_path / "config.toml"))
    assert done.returncode == 2 and 'need quotes: memory = "1GiB"' in done.stderr


def test_purge_beside_a_running_server_goes_through_it(tmp_path):
    store, keys = tmp_path / "store", tmp_path / "keys"
    keys.write_text("alice alice-key\nroot root-key admin\n")
    with serving(tmp_path, "--cache-dir", str(store), "--api-key-file", str(keys)) as server:
        alice = {"Authorization": "Bearer alice-key"}
        assert server.chat("Forget this.", headers=alice).status == 200
        assert "hit" in server.chat("Forget this.", headers=alice).cache_status
        refused = run_binary("purge", str(store), "--tenant", "alice", TENSORCACHE_API_KEY="alice-wrong")
        assert refused.returncode == 1 and "API key" in refused.stderr
        done = run_binary("purge", str(store), "--tenant", "alice", TENSORCACHE_API_KEY="root-key")
        assert done.returncode == 0 and re.match(r"[1-9]\d* values deleted by the server at http://127.0.0.1", done.stdout), done
        assert "miss" in server.chat("Forget this.", headers=alice).cache_status
    assert not (store / "serving").exists()
