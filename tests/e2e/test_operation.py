"""A server as its operator sees it: what it logs, and what stops it."""
import http.client
import json
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from conftest import BINARY, LOAD_LIMIT_S, MODEL, clean_environment, eventually, run_binary, serving

SMALL = ("-c", "2048", "--memory", "64MiB", "--port", "0")


def test_the_start_says_what_holds(tmp_path):
    store = str(tmp_path / "store")
    with serving(tmp_path, "--cache-dir", store) as server:
        log = server.log()
        assert re.search(r"4 slots, context of 8192 tokens, up to 8192 for one request, 2 threads", log)
        assert re.search(r"policy auto", log) and f"disk cache {store}: empty, limit 20GiB" in log
        assert "written there unencrypted" in log
        assert server.chat("Remember me.").status == 200
    with serving(tmp_path, "--cache-dir", store) as server:
        assert re.search(rf"disk cache {store}: [1-9]\d* entries, \S+ found, limit 20GiB", server.log())


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
                                  (("serve", "--temp", "9"), 2, "--temp"),
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


def test_hangups_never_end_it(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("alice alice-key\n" + "".join(f"tenant{i} key{i}\n" for i in range(200)))
    with serving(tmp_path, "--api-key-file", str(keys)) as server:
        for _ in range(200):
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.0015)
        assert server.request("GET", "/health").status == 200
        body = {"messages": [{"role": "user", "content": "Count."}], "temperature": 0, "max_tokens": 4000, "stream": True}
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": "Bearer alice-key", "Content-Type": "application/json"})
        connection.getresponse().read(1)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("shutting down")
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert server.process.poll() is None, "a hangup while it drains is none"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=20) == 0, "a second SIGTERM ends it at once"
        connection.close()


def test_a_log_that_nobody_reads_stops_nothing(tmp_path):
    reader, writer = os.pipe()
    process = subprocess.Popen([BINARY, "serve", MODEL, *SMALL[:-2], "--port", "0", "--disk", "off"], stderr=writer, env=clean_environment())
    os.close(writer)
    try:
        log = b""
        while not (found := re.search(rb"listening on \S+:(\d+)", log)):
            log += os.read(reader, 4096)
        port = int(found.group(1))

        def status():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/v1/" + "x" * 150)
            return connection.getresponse().status

        assert all(status() == 404 for _ in range(1000)), "a pipe holds 64 KiB"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        os.close(reader)


def test_a_limit_on_files_is_a_full_disk(tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    with open(os.devnull, "w", encoding="ascii") as nowhere, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        process = subprocess.Popen([BINARY, "serve", MODEL, *SMALL[:-2], "--port", str(port), "--cache-dir", str(tmp_path / "store")],
                                   stderr=nowhere, env=clean_environment(HOME=str(tmp_path)), preexec_fn=limited)
        try:
            def health():
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
                        return json.load(reply)["status"] == "ok"
                except OSError:
                    assert process.poll() is None
                    return False

            eventually(health, LOAD_LIMIT_S)
            body = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 4}).encode()
            request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as reply:
                assert reply.status == 200
            time.sleep(1)
            assert process.poll() is None and health()
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_purge_deletes_nothing_of_another_server(tmp_path):
    first = tmp_path / "first"
    with serving(tmp_path, "--cache-dir", str(first)) as server:
        assert server.chat("Keep this.").status == 200
        note = (first / "serving").read_text()
    (first / "serving").write_text(note.replace(str(server.port), "1"))
    with serving(tmp_path, "--cache-dir", str(tmp_path / "second")) as other:
        assert other.chat("Keep this too.").status == 200
        (first / "serving").write_text(re.sub(r":\d+\n", f":{other.port}\n", note))
        holder = subprocess.Popen([sys.executable, "-c", f"import fcntl,time; f=open({str(first / 'LOCK')!r},'a'); fcntl.flock(f,2); print(flush=True); time.sleep(60)"],
                                  stdout=subprocess.PIPE)
        holder.stdout.readline()
        try:
            done = run_binary("purge", str(first), "--all")
            assert done.returncode == 1 and "uses another cache directory" in done.stderr, done
            assert "hit" in other.chat("Keep this too.").cache_status
        finally:
            holder.kill()
            holder.wait()


def test_purge_all_needs_an_admin_and_names_are_taken_as_they_are(tmp_path):
    store, keys = tmp_path / "store", tmp_path / "keys"
    keys.write_text("b&o% one-key\nroot root-key admin\n")
    with serving(tmp_path, "--cache-dir", str(store), "--api-key-file", str(keys)) as server:
        mine = {"Authorization": "Bearer one-key"}
        assert server.chat("Mine.", headers=mine).status == 200
        refused = run_binary("purge", str(store), "--all", TENSORCACHE_API_KEY="one-key")
        assert refused.returncode == 1 and "admin" in refused.stderr
        nothing = run_binary("purge", str(store), "--tenant", "nobody", TENSORCACHE_API_KEY="root-key")
        assert nothing.stdout.startswith("no entry matches")
        done = run_binary("purge", str(store), "--tenant", "b&o%", "--older-than", "0s", TENSORCACHE_API_KEY="root-key")
        assert re.match(r"[1-9]\d* values deleted", done.stdout), done
        assert "miss" in server.chat("Mine.", headers=mine).cache_status
