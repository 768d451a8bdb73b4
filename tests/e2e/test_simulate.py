"""tensorcache simulate and policies, as a user calls them."""
import csv
import gzip
import json
from pathlib import Path

from conftest import run_binary as run, serving
from test_restart import ask, document

TRACE = str(Path(__file__).resolve().parent.parent / "data" / "lmcache_agents.jsonl.gz")


def test_the_table_ends_with_advice():
    done = run("simulate", TRACE, "--policy", "lru,min", "--size", "5%,10%")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "1,370 requests, 61,828 accesses, 6,243 distinct blocks" in lines[0]
    assert lines[2].split() == ["miss", "ratio", "5%", "(312)", "10%", "(624)"]
    assert lines[3].split() == ["lru", "0.1650", "0.1018"]
    assert lines[-1].startswith("Choose lru with 624 blocks: hit ratio 89.8 %")


def test_json_csv_and_pictures(tmp_path):
    done = run("simulate", TRACE, "--policy=lru", "--policy=min", "--size", "1%", "--size", "300", "--size", "1MiB", "--block-bytes", "16KiB", "--json",
               "--csv", str(tmp_path / "out.csv"), "--plot", str(tmp_path / "out.svg"), "--prefill-speed", "450")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert [(r["policy"], r["size"]) for r in results] == [(p, s) for s in (62, 300, 64) for p in ("lru", "min")]
    assert all(0.1 < r["miss_ratio"] < 0.6 and r["prefill_seconds_saved"] > 0 for r in results)
    rows = list(csv.DictReader(open(tmp_path / "out.csv")))
    assert [float(row["miss_ratio"]) for row in rows] == [round(r["miss_ratio"], 6) for r in results]
    assert (tmp_path / "out.svg").read_text().startswith("<svg")


def test_adaptive_never_loses_to_lru_by_more_than_a_tenth_of_a_point():
    results = json.loads(run("simulate", TRACE, "--policy", "lru,adaptive", "--json").stdout)["results"]
    for lru, adaptive in zip(results[::2], results[1::2]):
        assert adaptive["miss_ratio"] <= lru["miss_ratio"] + 0.001, lru["size_text"]


def test_guarded_is_close_to_the_best_of_the_three_that_it_follows(tmp_path):
    keys, sized = tmp_path / "keys.txt", tmp_path / "sized.csv"
    blocks = [block for line in gzip.open(TRACE, "rt") for block in json.loads(line)["hash_ids"]]
    keys.write_text("".join(f"{block}\n" for block in blocks))
    sized.write_text("".join(f"{block},{10 ** (block * 2654435761 % 5)}\n" for block in blocks))
    best = set()
    for trace in keys, sized:
        for size in "1%", "5%", "10%", "20%", "50%":
            done = run("simulate", str(trace), "--policy", "guarded,gdsf,s3fifo,lru", "--size", size, "--json")
            misses = {r["policy"]: r["miss_ratio"] for r in json.loads(done.stdout)["results"]}
            guarded = misses.pop("guarded")
            assert guarded <= min(misses.values()) + 0.015, (trace.name, size, guarded, misses)
            assert guarded <= misses["lru"] + 0.001, (trace.name, size, guarded, misses)
            best.add(min(misses, key=misses.get))
    assert best == {"gdsf", "s3fifo", "lru"}


def test_a_short_recording_is_simulated_and_the_advice_can_be_typed(tmp_path):
    trace = tmp_path / "trace.jsonl"
    with serving(tmp_path, "--record", str(trace)) as server:
        for _ in range(2):
            assert server.chat("What is a cache? " * 20, max_tokens=2, headers={"Cache-Control": "no-cache"}).status == 200
    assert '"block_bytes":' in trace.read_text()
    done = run("simulate", str(trace))
    assert done.returncode == 0, done.stderr
    assert "MiB --policy lru)" in done.stdout.splitlines()[-1] and "Choose lru with" in done.stdout
    assert run("simulate", str(trace), "--size", "0.1%").stderr.startswith("tensorcache: error: --size: the trace has ")
    assert "is the trace" in run("simulate", str(trace), "--csv", str(trace)).stderr


def test_a_text_is_taken_for_keys_and_that_is_said(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("one\ntwo\none\n")
    assert "read as one key per line" in run("simulate", str(text)).stderr


def test_what_cannot_be_done_is_said(tmp_path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text(gzip.open(TRACE, "rt").readline() + "{nonsense\n" + gzip.open(TRACE, "rt").readline())
    cases = [
        (["simulate"], 2, "a trace is missing"),
        (["simulate", "/no/such/file"], 1, "/no/such/file: No such file"),
        (["simulate", TRACE, "--policy", "lruu"], 2, "--policy: 'lruu' is unknown; did you mean lru?"),
        (["simulate", TRACE, "--policy", "lfu"], 2, "--policy: lfu is for independent keys"),
        (["simulate", TRACE, "--size", "0%"], 2, "--size: '0%' must be above 0%"),
        (["simulate", TRACE, "--size", "2GiB"], 2, "the trace has no sizes; set --block-bytes"),
        (["simulate", TRACE, "--plot", "x.png"], 2, "--plot: x.png ends neither in .svg nor in .html"),
        (["simulate", str(broken)], 1, "broken.jsonl:2: is not a JSON object"),
        (["policies", "x"], 2, "x: unexpected argument"),
    ]
    for arguments, code, message in cases:
        done = run(*arguments)
        assert (done.returncode, message in done.stderr) == (code, True), (arguments, done)
    skipped = run("simulate", str(broken), "--skip-bad", "--size", "1")
    assert skipped.returncode == 0 and "1 malformed lines skipped, the first: line 2" in skipped.stderr


def test_forced_policies_lose_as_the_refusal_says():
    results = json.loads(run("simulate", TRACE, "--policy", "lru,lfu", "--size", "5%", "--force", "--json").stdout)["results"]
    assert results[1]["miss_ratio"] > 1.4 * results[0]["miss_ratio"]


def test_policies_are_listed():
    done = run("policies")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()[1:] if line and line[0].islower()]
    assert names == ["adaptive", "arc", "auto", "clock", "fifo", "gdsf", "guarded", "lfu", "lru", "s3fifo", "sieve", "wtinylfu"]


def test_a_server_records_a_trace_that_can_be_simulated(tmp_path):
    trace = tmp_path / "trace.jsonl"
    for question in ("What is it about?", "Who is in it?"):   # a restart between them
        with serving(tmp_path, "--record", str(trace), "--disk", "off") as server:
            assert ask(server, document(4), question).status == 200
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    assert len(lines) == 2 and all(line["input_length"] // 32 == len(line["hash_ids"]) for line in lines)
    done = run("simulate", str(trace), "--policy", "lru", "--size", "100%", "--json")
    result = json.loads(done.stdout)["results"][0]
    shared = sum(a == b for a, b in zip(lines[0]["hash_ids"], lines[1]["hash_ids"]))
    assert shared > 5 and result["accesses"] - result["misses"] == shared
