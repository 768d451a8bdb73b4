#!/usr/bin/env python3
"""Passes ctest's output through, and prints the slowest tests just before ctest's own summary.

    ctest --output-junit FILE ... | slowest_tests.py FILE [COUNT]
"""
import re
import sys
import xml.etree.ElementTree as ElementTree

SUMMARY = re.compile(r"^\d+% tests passed")


def main(junit, count=10):
    held = []
    for line in iter(sys.stdin.readline, ""):
        if held or SUMMARY.match(line):
            held.append(line)   # until the file is written, which ctest does last
        else:
            print(line, end="", flush=True)
    try:
        cases = [(float(case.get("time", 0)), case.get("name")) for case in ElementTree.parse(junit).iter("testcase")]
    except (OSError, ElementTree.ParseError) as error:
        cases = []
        print(f"no durations: {error}")
    if cases:
        print(f"The {min(count, len(cases))} slowest of {len(cases)} tests:")
        for seconds, name in sorted(cases, reverse=True)[:count]:
            print(f"  {seconds:7.2f} s  {name}")
        print()
    print("".join(held), end="", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
