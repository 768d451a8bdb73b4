"""inspect, verify and purge, on what a real server stored."""
import json

from conftest import MODEL, run_binary, serving
from test_restart import ask, document, wait_until_written


def filled(tmp_path):
    store = tmp_path / "store"
    with serving(tmp_path, "--cache-dir", str(store)) as server:
        ask(server, document(6), "What is it about?")
        wait_until_written(server)
        # Also while the server has it.
        assert run_binary("inspect", str(store)).returncode == 0
        (store / "serving").unlink()
        refused = run_binary("purge", str(store), "--all")
        assert refused.returncode == 1 and "in use by another process" in refused.stderr
    return store


def test_what_is_stored_is_shown_checked_and_deleted(tmp_path):
    store = filled(tmp_path)
    shown = run_binary("inspect", str(store))
    assert shown.returncode == 0 and shown.stderr == ""
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["model", "kind", "tenant", "entries", "bytes", "hits", "newest", "oldest"] in lines
    kinds = {line[1]: line for line in lines if len(line) == 8 and line[0].endswith(".gguf")}
    assert kinds["answer"][2] == kinds["prefix-block"][2] == "default"
    groups = json.loads(run_binary("inspect", str(store), "--json").stdout)["groups"]
    assert {group["kind"]: str(group["entries"]) for group in groups} == {kind: line[3] for kind, line in kinds.items()}

    checked = run_binary("verify", str(store))
    assert checked.returncode == 0 and "all good" in checked.stdout
    segment = next(store.glob("seg-*.tcs"))
    damaged = bytearray(segment.read_bytes())
    damaged[5000] ^= 1
    segment.write_bytes(damaged)
    checked = run_binary("verify", str(store), "--json")
    assert checked.returncode == 1
    assert len(json.loads(checked.stdout)["bad_values"]) == 1

    misspelt = run_binary("purge", str(store), "--tenant", "nobody")
    assert misspelt.returncode == 2 and "no tenant 'nobody' in this directory; found: default" in misspelt.stderr
    assert run_binary("purge", str(store), "--older-than", "1h").stdout.startswith("0 values deleted")
    gone = run_binary("purge", str(store), "--model", groups[0]["model"], "--tenant", "default")
    assert gone.returncode == 0 and gone.stdout.rstrip().endswith("0 values left")
    assert json.loads(run_binary("inspect", str(store), "--json").stdout)["groups"] == []
    assert "empty" in run_binary("inspect", str(store)).stdout


def test_wrong_use_is_named(tmp_path):
    for arguments, code, said in [(("inspect", str(tmp_path / "none")), 1, "No such file or directory"),
                                  (("verify", str(tmp_path)), 1, "is not a cache directory"),
                                  (("purge", str(tmp_path)), 2, "specify what to delete"),
                                  (("purge", str(tmp_path), "--all", "--tenant", "x"), 2, "specify what to delete"),
                                  (("inspect", str(tmp_path), "b"), 2, "one directory"),
                                  (("inspect", "--jsn", str(tmp_path)), 2, "--json"),
                                  (("serve", "-m", "x", "--disk-size", "1MiB"), 2, "--disk-size"),
                                  (("serve", "-m", "x", "--disk-sync", "sometimes"), 2, "--disk-sync"),
                                  (("serve", "-m", MODEL, "--cache-dir", "/dev/null/x"), 1, "/dev/null/x")]:
        done = run_binary(*arguments)
        assert done.returncode == code and said in done.stderr, (arguments, done)
    for command in ("inspect", "verify", "purge"):
        assert "Usage: tensorcache " + command in run_binary(command, "--help").stdout
