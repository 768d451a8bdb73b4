#!/usr/bin/env python3
"""clang-tidy over our own code: scripts/clang_tidy.py BUILD_DIR [FILE...], where BUILD_DIR has a compile_commands.json.

A file is checked again only if it, a header of ours that it includes, its compiler options or the checks have changed. Tests are not
given to the static analyzer, which takes three quarters of the time.
"""
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIDY = os.environ.get("CLANG_TIDY", "clang-tidy-19")
# The analyzer's "shallow" mode takes a quarter of the time of "deep".
OPTIONS = ["--quiet", "--warnings-as-errors=*", "--extra-arg=-Wthread-safety", "--extra-arg=-Wthread-safety-beta",
           "--extra-arg=-Wno-unknown-warning-option",
           "--extra-arg=-Xclang", "--extra-arg=-analyzer-config", "--extra-arg=-Xclang", "--extra-arg=mode=shallow"]
TEST_OPTIONS = ["--checks=-clang-analyzer-*"]
INCLUDE = re.compile(rb'^\s*#\s*include\s*["<]([^">]+)[">]', re.M)


def options_of(path):
    is_test = path.name.endswith("_test.cc") or "testing" in path.parts or ROOT / "tests" in path.parents
    return OPTIONS + (TEST_OPTIONS if is_test else [])


def ours(path, seen):
    """The file and the headers of ours that it includes, directly or not, into `seen`: path -> contents."""
    if path in seen:
        return
    seen[path] = path.read_bytes()
    for name in INCLUDE.findall(seen[path]):
        for folder in (path.parent, ROOT / "src", ROOT / "include"):
            header = folder / os.fsdecode(name)
            if header.is_file() and ROOT in header.resolve().parents:
                ours(header.resolve(), seen)
                break


def fingerprint(entry, common):
    path = Path(entry["file"]).resolve()
    digest = hashlib.sha256(common + " ".join(options_of(path)).encode() + entry["command"].encode())
    seen = {}
    ours(path, seen)
    for name in sorted(seen):
        digest.update(f"{name.relative_to(ROOT)} {len(seen[name])}\n".encode() + seen[name])
    return digest.hexdigest()


def check(entry, build, lock, progress):
    path = Path(entry["file"])
    done = subprocess.run([TIDY, "-p", build, *options_of(path), path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with lock:
        progress["done"] += 1
        end, start = ("\r", "\r") if sys.stderr.isatty() else ("\n", "")
        if progress["done"] % (1 if sys.stderr.isatty() else 20) == 0:
            print(f"{start}    {progress['done']} of {progress['all']} files ", end=end, file=sys.stderr, flush=True)
        if done.returncode != 0:
            print(done.stdout, flush=True)
    return done.returncode == 0


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    build, wanted = Path(sys.argv[1]), {str(Path(name).resolve()) for name in sys.argv[2:]}
    clean = build / "clang-tidy"   # one empty file for each source that had no finding, named by what it was made of
    clean.mkdir(exist_ok=True)
    common = (ROOT / ".clang-tidy").read_bytes() + subprocess.check_output([TIDY, "--version"])
    entries = {entry["file"]: entry for entry in json.loads((build / "compile_commands.json").read_text())
               if ROOT in Path(entry["file"]).resolve().parents and build.resolve() not in Path(entry["file"]).resolve().parents}
    marks = {name: clean / fingerprint(entry, common) for name, entry in entries.items() if not wanted or name in wanted}
    todo = [name for name, mark in marks.items() if not mark.exists()]
    print(f"clang-tidy: {len(todo)} of {len(marks)} files have changed since they were checked", file=sys.stderr, flush=True)
    lock, progress = threading.Lock(), {"done": 0, "all": len(todo)}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        def one(name):
            if not check(entries[name], build, lock, progress):
                return False
            marks[name].touch()
            return True
        found = [name for name, good in zip(todo, pool.map(one, todo)) if not good]
    for old in set(clean.iterdir()) - set(marks.values()) if not wanted else ():
        old.unlink()
    if found:
        sys.exit(f"clang-tidy: findings in {len(found)} files")


main()
