#!/usr/bin/env python3
"""TensorCache against llama-server of the same llama.cpp build: same model, same flags, same work, one after the other on loopback.

  ./dev bench                                                    all rows; prints the table
  bench/versus_llama_server.py --model FILE --quick              small sizes, to see that it works; its figures mean nothing
  bench/versus_llama_server.py --model FILE --only burst,repeat  some rows

Exit code: 0 if every goal holds, 1 if one does not, 2 if something could not be run.
"""
import argparse
import contextlib
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from servers import CannotRun, call, die_with_parent, environment, free_port, healthy, running, say

ROOT = Path(__file__).resolve().parent.parent
ROWS = ["conversations", "burst", "repeat", "unrelated", "deterministic", "price", "differing", "restart", "disk", "blocks"]
NO_CACHE = ["--header", "Cache-Control: no-cache"]      # ours: compute all of the prompt
NO_CACHE_LLAMA = ["--body", '{"cache_prompt": false}']  # the same for llama-server
READY_LIMIT_S, BENCH_LIMIT_S = 300, 3600

# What the work is, as options of `tensorcache bench`. `checked` is for the deterministic and differing rows.
FULL = {
    "runs": 3,
    "conversations": ["--conversations", "24", "--turns", "3", "--system-words", "400", "--document-words", "300",
                      "--question-words", "36", "--out-tokens", "16"],
    "burst": ["--clients", "8", "--prefix-words", "760", "--question-words", "12", "--out-tokens", "16"],
    "repeat": ["--requests", "100", "--prompt-words", "400", "--out-tokens", "32"],
    "unrelated": ["--requests", "12", "--prompt-words", "500", "--out-tokens", "96"],
    "long": ["--conversations", "2", "--turns", "1", "--system-words", "40", "--document-words", "7000", "--question-words", "36",
             "--out-tokens", "16"],
    "block_sizes": [16, 32, 64, 128],
    "checked": ["--conversations", "40", "--turns", "5", "--system-words", "120", "--document-words", "100",
                "--question-words", "20", "--out-tokens", "24"],
    "traffic": ["--requests", "400", "--prompt-words", "150", "--out-tokens", "48"],
}
# The same prompts, fewer of them: for models that are several times as large as the demo's.
SMALL = FULL | {
    "runs": 1,
    "conversations": ["--conversations", "8", "--turns", "2", "--system-words", "400", "--document-words", "300",
                      "--question-words", "36", "--out-tokens", "16"],
    "unrelated": ["--requests", "4", "--prompt-words", "500", "--out-tokens", "48"],
}
QUICK = {
    "runs": 1,
    "conversations": ["--conversations", "6", "--turns", "2", "--system-words", "60", "--document-words", "60",
                      "--question-words", "12", "--out-tokens", "4"],
    "burst": ["--clients", "4", "--prefix-words", "120", "--question-words", "8", "--out-tokens", "4"],
    "repeat": ["--requests", "10", "--prompt-words", "40", "--out-tokens", "8"],
    "unrelated": ["--requests", "4", "--prompt-words", "80", "--out-tokens", "16"],
    "long": ["--conversations", "2", "--turns", "1", "--system-words", "20", "--document-words", "400", "--question-words", "12",
             "--out-tokens", "4"],
    "block_sizes": [32, 64],
    "checked": ["--conversations", "3", "--turns", "2", "--system-words", "40", "--document-words", "40",
                "--question-words", "8", "--out-tokens", "8"],
    "traffic": ["--requests", "40", "--prompt-words", "40", "--out-tokens", "8"],
}


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.sizes = QUICK if arguments.quick else SMALL if arguments.small else FULL
        self.runs = arguments.runs or self.sizes["runs"]
        self.folder = tempfile.TemporaryDirectory(prefix="tensorcache-bench-")
        self.raw = []
        self.rows = []
        self.plain_unrelated = {}   # by concurrency: ours
        self.no_end_body = None

    @contextlib.contextmanager
    def server(self, who, *extra, store=None, context=16384):
        """A fresh server, ready; yields its URL. `store` keeps ours from one to the next."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        flags = ["-m", self.arguments.model, "-c", str(context), "-np", "4", "-t", str(self.arguments.threads), "--host", "127.0.0.1",
                 "--port", str(port), *extra]
        store = store or tempfile.mkdtemp(prefix="store-", dir=self.folder.name)
        command = [self.arguments.tensorcache, "serve", *flags, "--cache-dir", store] if who == "ours" else [self.arguments.llama_server, *flags]
        log_path = Path(self.folder.name) / f"{who}.log"
        with running(command, log_path) as process:
            deadline = time.monotonic() + READY_LIMIT_S
            while not healthy(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-15:])
                    raise CannotRun(f"{' '.join(command)} did not become ready:\n{tail}")
                time.sleep(0.1)
            yield url

    def load(self, url, workload, *extra, sizes=None, seed=1):
        """One `tensorcache bench`; returns its JSON."""
        command = [self.arguments.tensorcache, "bench", workload, "--url", url, "--json", "--seed", str(seed),
                   "--max-time", str(BENCH_LIMIT_S), *self.sizes[sizes or workload], *extra]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=BENCH_LIMIT_S + 60,
                              env=environment(), preexec_fn=die_with_parent)
        if not done.stdout:
            raise CannotRun(f"{' '.join(command)}: {done.stderr.strip()}")
        report = json.loads(done.stdout)
        if report["total"]["errors"]:
            raise CannotRun(f"{' '.join(command)}: {report['total']['first_errors'][0]}")
        return report

    def both(self, name, work):
        """`work(who, run)` in turn for both, several times; returns who -> list of results."""
        results = {"theirs": [], "ours": []}
        for run in range(self.runs):
            order = ["theirs", "ours"] if run % 2 == 0 else ["ours", "theirs"]
            for who in order:
                say(f"{name}: {'llama-server' if who == 'theirs' else 'tensorcache'}, run {run + 1} of {self.runs}")
                results[who].append(work(who, run))
        self.raw.append({"row": name, "results": results})
        return results

    def row(self, work, theirs, ours, ratio, goal, holds):
        self.rows.append({"work": work, "llama_server": theirs, "ours": ours, "ratio": ratio, "goal": goal, "holds": holds})

    def compared(self, work, results, figure, unit, goal, limit, digits=0):
        """A row of medians; the ratio ours / theirs, which `limit` is of, is the median of the runs' own: each pair ran within minutes."""
        theirs, ours = (statistics.median(figure(result) for result in results[who]) for who in ("theirs", "ours"))
        ratio = statistics.median(figure(our) / figure(their) for our, their in zip(results["ours"], results["theirs"]))
        holds = ratio <= limit if goal.startswith("≤") else ratio >= limit
        self.row(work, f"{theirs:,.{digits}f} {unit}", f"{ours:,.{digits}f} {unit}", f"{ratio:.3f}", goal, holds)

    # The rows of the table.

    def conversations(self):
        """With fewer shared words llama-server's own RAM cache finds each conversation again: it is looked up only when more than half of a
        slot would be lost."""
        words = int(self.sizes["conversations"][self.sizes["conversations"].index("--system-words") + 1])
        self.second_turns(words, 0.25, None)
        self.second_turns(words // 2, 0.95, "llama-server")

    def second_turns(self, words, limit, beside):
        def work(who, run):
            with self.server(who) as url:
                return self.load(url, "conversations", "--system-words", str(words), seed=run + 1)
        results = self.both(f"conversations, {words} shared words", work)
        read = {who: results[who][0]["phases"][0]["prompt_tokens"] for who in results}
        if read["ours"] != read["theirs"]:
            say(f"note: the same first turns are {read['ours']} tokens here and {read['theirs']} at llama-server")
        second = lambda result: result["phases"][1]
        count = self.sizes["conversations"][1]
        self.compared(f"{count} conversations in rotation, {words} shared words, second turns: mean TTFT", results,
                      lambda r: second(r)["ttft_ms"]["mean"], "ms", f"≤ {limit}", limit)
        theirs, ours = (statistics.median(second(r)["reused_share"] for r in results[who]) for who in ("theirs", "ours"))
        self.row("... prompt tokens reused in second turns", f"{theirs:.1%}", f"{ours:.1%}", "-", "≥ llama-server" if beside else "≥ 90%",
                 ours >= theirs if beside else ours >= 0.9)

    def burst(self):
        def work(who, run):
            with self.server(who) as url:
                return self.load(url, "burst", seed=run + 1)
        results = self.both("burst", work)
        clients, words = self.sizes["burst"][1], self.sizes["burst"][3]
        self.compared(f"{clients} clients at once over one cold prefix of {words} words: wall", results, lambda r: r["total"]["wall_s"],
                      "s", "≤ 0.4", 0.4, digits=2)

    def repeat(self):
        def work(who, run):
            with self.server(who) as url:
                return self.load(url, "repeat", seed=run + 1)
        results = self.both("repeat", work)
        theirs, ours = (statistics.median(r["phases"][1]["total_ms"]["p50"] for r in results[who]) for who in ("theirs", "ours"))
        self.row("the identical request again, to the last byte", f"{theirs:.2f} ms", f"{ours:.3f} ms", f"{ours / theirs:.4f}", "≤ 1 ms",
                 ours <= 1)

    def no_end(self):
        """A request body's members that forbid the end of the text: every answer has the same length, whoever rounds how."""
        if self.no_end_body is None:
            with self.server("theirs") as url:
                end = call(url + "/props")["eos_token"]
                tokens = call(url + "/tokenize", {"content": end, "parse_special": True})["tokens"]
            self.no_end_body = ["--body", json.dumps({"logit_bias": {str(token): -100 for token in tokens}})]
        return self.no_end_body

    def unrelated(self):
        for concurrency in (1, 4):
            def work(who, run, concurrency=concurrency):
                no_end = self.no_end()
                with self.server(who) as url:
                    return self.load(url, "unrelated", "--concurrency", str(concurrency), *no_end, seed=run + 1)
            results = self.both(f"unrelated, {concurrency} at a time", work)
            self.plain_unrelated[concurrency] = results["ours"]
            for phase, name, figure in ((0, "prefill", "prompt_tokens_per_s"), (1, "decode", "completion_tokens_per_s")):
                self.compared(f"unrelated prompts, {concurrency} at a time: {name}", results,
                              lambda r, phase=phase, figure=figure: r["phases"][phase][figure], "tok/s", "≥ 0.97", 0.97, digits=1)

    def replies(self, url, name, *extra):
        """The checked conversations' answers, by place; and the share of the prompt that was reused."""
        path = Path(self.folder.name) / f"{name}.jsonl"
        report = self.load(url, "conversations", "--logprobs", "--save-replies", str(path), *extra, sizes="checked")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return {(line["session"], line["turn"]): line for line in lines}, report["total"]["reused_share"], path

    @contextlib.contextmanager
    def traffic(self, url):
        """Others' requests, two at a time, for as long as the body runs."""
        command = [self.arguments.tensorcache, "bench", "unrelated", "--url", url, "--seed", "99", "--concurrency", "2", "--max-time",
                   str(BENCH_LIMIT_S), *self.sizes["traffic"]]
        with running(command) as process:
            yield
            if process.poll() is not None and not self.arguments.quick:
                say("note: the other traffic ended before the measured requests did")

    def cold_and_warm(self, who, *flags):
        """Cold answers one at a time, then warm ones: alone, and 4 at a time among other traffic. All three send the same prompts."""
        cold_way = NO_CACHE if who == "ours" else NO_CACHE_LLAMA
        with self.server(who, *flags) as url:
            say(f"  {who}: cold")
            cold, _, history = self.replies(url, f"{who}-cold", *cold_way)
        with self.server(who, *flags) as url:
            say(f"  {who}: warm, alone")
            alone, alone_share, _ = self.replies(url, f"{who}-alone", "--history", str(history))
            say(f"  {who}: warm, 4 at a time among other traffic")
            with self.traffic(url):
                together, together_share, _ = self.replies(url, f"{who}-together", "--history", str(history), "--concurrency", "4")
        differing = lambda warm, field: sum(cold[at].get(field) != warm[at].get(field) for at in cold)
        return {
            "prompts": len(cold),
            "logprobs_seen": sum(len(line.get("logprobs", [])) for line in cold.values()),
            "reused": {"alone": alone_share, "together": together_share},
            "texts": {"alone": differing(alone, "text"), "together": differing(together, "text")},
            "logprobs": {"alone": differing(alone, "logprobs"), "together": differing(together, "logprobs")},
        }

    def deterministic(self):
        say("deterministic: cold against warm")
        # Without stored answers, or the second run would only read the first one's.
        found = self.cold_and_warm("ours", "--deterministic", "--cache-answers", "off")
        self.raw.append({"row": "deterministic", "results": found})
        least_reused = 0 if self.arguments.quick else 0.5   # or nothing was compared
        for way, name in (("alone", "alone"), ("together", "4 at a time in traffic")):
            say(f"  warm, {name}: {found['reused'][way]:.0%} of the prompt tokens reused")
            warm = found["reused"][way] > least_reused and found["logprobs_seen"] > 0
            self.row(f"--deterministic, {found['prompts']} prompts, cold against warm, {name}: differing texts + logprobs", "-",
                     f"{found['texts'][way]} + {found['logprobs'][way]}", "-", "0 + 0",
                     warm and found["texts"][way] + found["logprobs"][way] == 0)

    def price(self):
        for concurrency in (1, 4):
            # What the row "unrelated" measured without the option is not measured again.
            results = {"without": self.plain_unrelated.get(concurrency, []), "with": []}
            ways = [("with", ["--deterministic"])] if results["without"] else [("without", []), ("with", ["--deterministic"])]
            for run in range(self.runs):
                for name, flags in ways:
                    say(f"the price of --deterministic: {concurrency} at a time, {name}, run {run + 1} of {self.runs}")
                    no_end = self.no_end()
                    with self.server("ours", *flags) as url:
                        results[name].append(self.load(url, "unrelated", "--concurrency", str(concurrency), *no_end, seed=run + 1))
            self.raw.append({"row": f"price of deterministic, {concurrency} at a time", "results": results})
            for phase, name, figure in ((0, "prefill", "prompt_tokens_per_s"), (1, "decode", "completion_tokens_per_s")):
                off, on = (statistics.median(r["phases"][phase][figure] for r in results[way]) for way in ("without", "with"))
                self.row(f"the price of --deterministic, {concurrency} at a time: {name}, without | with it", f"{off:,.1f} tok/s",
                         f"{on:,.1f} tok/s", f"{on / off:.3f}", "-", None)

    def differing(self):
        say("differing: greedy replies that differ from a cold run")
        found = {"ours": self.cold_and_warm("ours", "--cache-answers", "off"), "theirs": self.cold_and_warm("theirs")}
        self.raw.append({"row": "differing", "results": found})
        for way, name in (("alone", "alone"), ("together", "4 at a time in traffic")):
            share = {who: found[who]["texts"][way] / found[who]["prompts"] for who in found}
            self.row(f"greedy replies that differ from a cold run, {name}", f"{share['theirs']:.1%}", f"{share['ours']:.1%}", "-",
                     "≤ llama-server", share["ours"] <= share["theirs"])

    def restart(self):
        """One more turn of every conversation after the server was stopped and started again."""
        for sizes, limit, context in (("conversations", 1 / 7, 16384), ("long", 1 / 30, 36864)):
            flag = lambda name, sizes=sizes: self.sizes[sizes][self.sizes[sizes].index(name) + 1]
            name = f"{flag('--conversations')} conversations with documents of {flag('--document-words')} words"
            turns = int(self.sizes[sizes][3])

            def work(who, run, sizes=sizes, turns=turns, context=context):
                replies, store = str(Path(self.folder.name) / f"restart-{who}.jsonl"), tempfile.mkdtemp(prefix="store-", dir=self.folder.name)
                with self.server(who, store=store, context=context) as url:
                    self.load(url, "conversations", "--save-replies", replies, sizes=sizes, seed=run + 1)
                more = ["--turns", str(turns + 1), "--history", replies, "--from-turn", str(turns + 1)]
                with self.server(who, store=store, context=context) as url:
                    return self.load(url, "conversations", *more, sizes=sizes, seed=run + 1)
            results = self.both(f"restart, {name}", work)
            self.compared(f"one more turn after a restart, {name}: mean TTFT", results, lambda r: r["total"]["ttft_ms"]["mean"], "ms",
                          f"≤ {limit:.3f}", limit)
            theirs, ours = (statistics.median(r["total"]["reused_share"] for r in results[who]) for who in ("theirs", "ours"))
            self.row("... prompt tokens reused", f"{theirs:.1%}", f"{ours:.1%}", "-", "-", None)

    @contextlib.contextmanager
    def saturated_disk(self):
        """Somebody else writes and syncs as fast as the disk goes."""
        path = Path(self.folder.name) / "noise"
        with running(["sh", "-c", f"while :; do dd if=/dev/zero of={path} bs=4M count=64 conv=fsync 2>/dev/null; done"]):
            yield

    def disk(self):
        """What the disk tier costs the serving path: ours alone, each record synced, on a disk that is busy with others' writes."""
        results = {"off": [], "on": []}
        for run in range(self.runs):
            for way, flags in (("off", ["--disk", "off"]), ("on", ["--disk-sync", "record"])):
                say(f"disk {way}: run {run + 1} of {self.runs}")
                with self.server("ours", *flags) as url, self.saturated_disk():
                    results[way].append(self.load(url, "conversations", "--concurrency", "2", seed=run + 1))
        self.raw.append({"row": "disk", "results": results})
        for name in ("p50", "p99"):
            off, on = (statistics.median(run["total"]["ttft_ms"][name] for run in results[way]) for way in ("off", "on"))
            ratio = statistics.median(on["total"]["ttft_ms"][name] / off["total"]["ttft_ms"][name] for on, off in zip(results["on"], results["off"]))
            self.row(f"TTFT {name} on a saturated disk, --disk off | on with --disk-sync record", f"{off:,.0f} ms", f"{on:,.0f} ms", f"{ratio:.3f}",
                     "≤ 1.1" if name == "p99" else "-", ratio <= 1.1 if name == "p99" else None)

    def blocks(self):
        """Which block size: conversations and unrelated prompts with each, ours alone."""
        results = {size: [] for size in self.sizes["block_sizes"]}
        for run in range(self.runs):
            for size in results:
                say(f"blocks of {size}: run {run + 1} of {self.runs}")
                with self.server("ours", "--block-size", str(size)) as url:
                    results[size].append(self.load(url, "conversations", seed=run + 1)["phases"][1])
                    cache = call(url + "/cache")
                    results[size][-1]["bytes_per_token"] = cache["kinds"]["prefix-block"]["charged_bytes"] / (
                        size * cache["kinds"]["prefix-block"]["entries"])
        self.raw.append({"row": "blocks", "results": results})
        for size, runs in results.items():
            ttft, reused, charge = (statistics.median(figure(run) for run in runs) for figure in (
                lambda run: run["ttft_ms"]["mean"], lambda run: run["reused_share"], lambda run: run["bytes_per_token"]))
            self.row(f"blocks of {size}, second turns: mean TTFT, reused, budget for a token", "-",
                     f"{ttft:,.0f} ms, {reused:.1%}, {charge / 1024:.2f} KiB", "-", "-", None)

    def table(self):
        header = ["work", "llama-server", "ours", "ratio", "goal", "holds?"]
        shown = {True: "yes", False: "NO", None: "-"}
        lines = [header] + [[r["work"], r["llama_server"], r["ours"], r["ratio"], r["goal"], shown[r["holds"]]] for r in self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        pad = lambda line: "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join([pad(lines[0]), rule, *map(pad, lines[1:])])


def parsed_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="GGUF file")
    parser.add_argument("--tensorcache", default=str(ROOT / "build/release/tensorcache"), help="our binary [%(default)s]")
    parser.add_argument("--llama-server", help="llama-server's binary [what scripts/llama.sh --server builds]")
    parser.add_argument("--threads", type=int, default=2, help="threads for each server [%(default)s]")
    parser.add_argument("--runs", type=int, help="runs of each, alternating; medians are shown [3]")
    parser.add_argument("--only", help="rows, with commas: " + ", ".join(ROWS))
    parser.add_argument("--small", action="store_true", help="fewer requests of the same lengths, once: for larger models")
    parser.add_argument("--quick", action="store_true", help="small sizes, once: a smoke test")
    parser.add_argument("--json", metavar="FILE", help="write the table and all raw results")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",") if arguments.only else ROWS
    unknown = [row for row in chosen if row not in ROWS]
    if unknown:
        parser.error(f"--only: {unknown[0]} is none of {', '.join(ROWS)}")
    if not Path(arguments.tensorcache).exists():
        parser.error(f"--tensorcache: {arguments.tensorcache} does not exist; ./dev build makes it")
    if not arguments.llama_server:
        prefix = subprocess.run([ROOT / "scripts/llama.sh", "--server"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        arguments.llama_server = f"{prefix}/bin/llama-server"
    return arguments, chosen


def main():
    arguments, chosen = parsed_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))   # unwinds, so that the servers are stopped
    bench = Bench(arguments)
    started = time.monotonic()
    try:
        for row in chosen:
            getattr(bench, row)()
    except (CannotRun, subprocess.TimeoutExpired) as problem:
        say(f"error: {problem}")
        return 2
    except KeyboardInterrupt:
        return 2
    finally:
        if bench.rows:
            print(bench.table())
        if arguments.json:
            result = {"model": Path(arguments.model).name, "threads": arguments.threads, "runs": bench.runs, "quick": arguments.quick,
                      "seconds": round(time.monotonic() - started), "rows": bench.rows, "raw": bench.raw}
            Path(arguments.json).write_text(json.dumps(result, indent=1) + "\n")
        bench.folder.cleanup()
    return 0 if all(row["holds"] is not False for row in bench.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
