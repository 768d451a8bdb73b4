#!/usr/bin/env python3
"""Runs the quick tests of llama-server's own suite, as it is in the pinned llama.cpp source, against this server (or, with
--llama-server, against a llama-server, for comparison), and compares the result with passing.txt."""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree as xml

HERE = pathlib.Path(__file__).resolve().parent
FILES = ["basic", "chat_completion", "completion", "compat_anthropic", "compat_gcp", "compat_oai_responses", "ctx_shift", "ignore_eos",
         "metrics", "security", "stream", "tokenize"]


def copy_of_suite(source, work):
    """The tests, with a conftest.py that needs no downloads, where they find the templates of llama.cpp. RETURNS their folder."""
    shutil.rmtree(work, ignore_errors=True)
    to = work / "tools" / "server" / "tests"
    (to / "unit").mkdir(parents=True)
    (work / "models").symlink_to((source / "../../../models").resolve())
    shutil.copy(source / "utils.py", to)
    for name in FILES:
        shutil.copy(source / "unit" / f"test_{name}.py", to / "unit")
    shutil.copy(HERE / "conftest.py", to)
    (to / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow\n    serial\n")
    return to


def passed_tests(report):
    """The names of the tests that passed, and of the others but the skipped ones."""
    passed, failed = set(), set()
    for case in xml.parse(report).iter("testcase"):
        name = case.get("classname").split(".")[-1].removeprefix("test_") + "::" + case.get("name").removeprefix("test_")
        name = name.encode("ascii", "backslashreplace").decode().replace("\n", "\\n")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(name)
        elif case.find("skipped") is None:
            passed.add(name)
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=pathlib.Path, required=True, help="tools/server/tests of the llama.cpp source")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder for a copy of it")
    parser.add_argument("--binary", required=True)
    parser.add_argument("--llama-server", action="store_true", help="the binary is a llama-server")
    parser.add_argument("--model", required=True)
    parser.add_argument("--update", action="store_true", help="write passing.txt")
    parser.add_argument("pytest", nargs="*", help="further options of pytest")
    options = parser.parse_args()
    if options.update and (options.pytest or options.llama_server):
        parser.error("--update: the list is of all tests, and of this server's")

    folder = copy_of_suite(options.source, options.work.resolve())
    report = folder / "report.xml"
    environment = {**os.environ, "LLAMA_SERVER_BIN_PATH": str(HERE / "server.py"), "SUITE_BINARY": os.path.abspath(options.binary),
                   "SUITE_MODEL": os.path.abspath(options.model), "SUITE_IS_LLAMA_SERVER": "1" if options.llama_server else "",
                   "PYTHONPATH": str(folder), "LLAMA_CACHE": str(folder / "tmp")}
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "not slow", "--timeout", "120", "--tb", "line", "-p", "no:cacheprovider",
                    f"--junitxml={report}", *options.pytest, "unit"], cwd=folder, env=environment, check=False)
    passed, failed = passed_tests(report)
    listed = HERE / "passing.txt"
    if options.update:
        listed.write_text("".join(name + "\n" for name in sorted(passed)))
    expected = set(listed.read_text().splitlines()) if listed.exists() else set()
    lost = sorted(expected - passed) if not options.pytest and not options.llama_server else []
    print(f"{len(passed)} tests pass, {len(failed)} fail")
    for name in lost:
        print(f"passed before, and does not now: {name}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
