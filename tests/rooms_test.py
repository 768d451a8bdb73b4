#!/usr/bin/env python3
"""Holds the rooms' dependency order: a file in src/ROOM includes only its own room, lower rooms and the public headers."""
import re
import sys
from pathlib import Path

# Lowest first. The public headers are part of `base`'s and `cache`'s contract, and every room may include them.
ROOMS = ["base", "trace", "policy", "disk", "tier", "cache", "tensor", "capi", "host", "prefix", "engine", "answer", "server", "load", "simulate", "cli"]
# Rooms beside each other, which must not know of each other though one stands higher in the list.
STRANGERS = {("load", "server"), ("load", "answer"), ("load", "engine"), ("load", "cache"), ("load", "tensor"), ("server", "prefix"), ("answer", "prefix")}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
PUBLIC = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def problems(root):
    found = []
    present = {folder.name for folder in (root / "src").iterdir() if folder.is_dir()}
    for room in sorted(present ^ set(ROOMS)):
        found.append(f"src/{room}: the list of rooms and the folders under src/ differ")
    for path in sorted((root / "src").rglob("*.*")):
        if path.suffix not in (".h", ".cc"):
            continue
        room = path.relative_to(root / "src").parts[0]
        for included in INCLUDE.findall(path.read_text()):
            other = included.split("/")[0]
            if other == "tensorcache":
                continue
            name = path.relative_to(root)
            if other not in ROOMS:
                found.append(f'{name}: "{included}" is in no room; includes are written from src/')
            elif ROOMS.index(other) > ROOMS.index(room):
                found.append(f'{name}: {room} may not include "{included}": {other} stands above it')
            elif (room, other) in STRANGERS:
                found.append(f'{name}: {room} may not include "{included}": they are to know nothing of each other')
    for path in sorted((root / "include").rglob("*.h")):
        for included in PUBLIC.findall(path.read_text()):
            if "/" in included and not included.startswith("tensorcache/"):
                found.append(f"{path.relative_to(root)}: a public header may include the standard library and its like only, not {included}")
    return found


def self_check(tmp):
    """A test that cannot fail is a defect: one wrong include must be found."""
    for room in ROOMS:
        (tmp / "src" / room).mkdir(parents=True)
    (tmp / "include").mkdir()
    (tmp / "src/base/wrong.cc").write_text('#include "cache/flights.h"\n')
    (tmp / "src/cli/right.cc").write_text('#include "cache/flights.h"\n')
    return [line for line in problems(tmp) if "wrong.cc" in line] and not [line for line in problems(tmp) if "right.cc" in line]


if __name__ == "__main__":
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        if not self_check(Path(folder)):
            sys.exit("rooms_test does not find a wrong include")
    lines = problems(Path(sys.argv[1]))
    print("\n".join(lines) or "the rooms are in order")
    sys.exit(bool(lines))
