#!/usr/bin/env python3
"""Compiles every header of src/ and include/ alone: each must include what it uses.

    headers_alone.py SOURCE_DIR BUILD_DIR [HEADER...]

The flags of a header are those of a source file in its folder, by BUILD_DIR/compile_commands.json. With ccache a second run is quick.
"""
import json
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KEPT = ("-I", "-D", "-isystem", "-std", "-O", "-g", "-f", "-W")


def flags_by_folder(root, build):
    """Compiler and flags for each folder of src/ that has a source file."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = Path(entry["file"])
        if root / "src" not in source.parents:
            continue
        words = shlex.split(entry["command"])
        compiler = next(word for word in words if Path(word).name not in ("ccache",))
        kept, take_next = [], False
        for word in words[1:]:
            if take_next or word.startswith(KEPT):
                kept.append(word)
            take_next = word == "-isystem"
        found.setdefault(source.parent, (compiler, kept))
    return found


def compile_alone(job):
    (compiler, flags), header, folder = job
    source = folder / (str(header).replace("/", "_") + ".cc")
    source.write_text(f'#include "{header}"\n')
    ccache = [shutil.which("ccache")] if shutil.which("ccache") else []
    command = [*ccache, compiler, *flags, "-c", str(source), "-o", str(source.with_suffix(".o"))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return header, done.returncode, done.stderr


def main(root, build, only):
    folders = flags_by_folder(root, build)
    any_flags = folders[root / "src/base/core"]
    headers = sorted(root.glob("include/tensorcache/*.h")) + sorted(root.glob("src/*/*/*.h"))
    failed = []
    folder = build / "headers"   # the same names each time, for ccache
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    jobs = []
    for header in headers:
        base = root / ("src" if root / "src" in header.parents else "include")
        name = header.relative_to(base)
        # A folder of headers only takes the flags of its wing's last component, which has all that is below it.
        flags = folders.get(header.parent) or next((flags for path, flags in folders.items() if path.parent == header.parent.parent), any_flags)
        if header.suffix == ".h" and name.name != "exports.h" and (not only or str(name) in only):
            jobs.append((flags, name, folder))
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        for header, code, text in pool.map(compile_alone, jobs):
            if code != 0:
                failed.append(header)
                print(f"{header} does not compile alone:\n" + "\n".join(text.splitlines()[:12]))
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(jobs) - len(failed)} of {len(jobs)} headers compile alone")
    return bool(failed) or not jobs


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), set(sys.argv[3:])))
