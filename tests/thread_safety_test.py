#!/usr/bin/env python3
"""Compiles small programs with clang's thread-safety analysis: those that use a lock rightly, and those that must be refused."""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CLASS = """
#include "base/core/mutex.h"
using tensorcache::Mutex; using tensorcache::MutexLock; using tensorcache::CondVar;
struct Counter {
  Mutex first, second TC_ACQUIRED_AFTER(first);
  CondVar changed;
  int count TC_GUARDED_BY(first) = 0;
  void add_locked() TC_REQUIRES(first) { ++count; }
  void add() TC_EXCLUDES(first) { const MutexLock lock(first); add_locked(); }
};
"""
RIGHT = {
    "a lock": "void f(Counter& c) { const MutexLock lock(c.first); c.add_locked(); ++c.count; }",
    "no lock where the function takes it": "void f(Counter& c) { c.add(); }",
    "taken again": "void f(Counter& c) { MutexLock lock(c.first); lock.unlock(); c.add(); lock.lock(); ++c.count; }",
    "a wait": "void f(Counter& c) { const MutexLock lock(c.first); c.changed.wait(c.first, [&]() TC_REQUIRES(c.first) { return c.count > 0; }); }",
    "in order": "void f(Counter& c) { const MutexLock a(c.first); const MutexLock b(c.second); }",
}
WRONG = {
    "no lock": "void f(Counter& c) { ++c.count; }",
    "another lock": "void f(Counter& c) { const MutexLock lock(c.second); ++c.count; }",
    "a locked function without it": "void f(Counter& c) { c.add_locked(); }",
    "held already": "void f(Counter& c) { const MutexLock lock(c.first); c.add(); }",
    "let go before": "void f(Counter& c) { MutexLock lock(c.first); lock.unlock(); ++c.count; }",
    "a wait without the lock": "void f(Counter& c) { c.changed.wait(c.first); }",
    "not in order": "void f(Counter& c) { const MutexLock b(c.second); const MutexLock a(c.first); }",
}
FLAGS = ["-std=c++20", "-fsyntax-only", "-Wthread-safety", "-Wthread-safety-beta", "-Werror=thread-safety", "-Werror=thread-safety-beta"]


def refused(compiler, root, cases):
    """RETURNS: the names of the cases that the analysis refuses, and what else the compiler says."""
    lines = CLASS.splitlines() + [f"namespace case_{i} {{ {body} }}" for i, body in enumerate(cases.values())]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "cases.cc"
        source.write_text("\n".join(lines) + "\n")
        result = subprocess.run([compiler, *FLAGS, "-ferror-limit=0", f"-I{root}/src", str(source)], capture_output=True, text=True)
    first = len(CLASS.splitlines()) + 1
    names, others = set(), []
    for line, text in re.findall(r"cases\.cc:(\d+):\d+: error: (.*)", result.stderr):
        if int(line) >= first and "-Wthread-safety" in text:
            names.add(list(cases)[int(line) - first])
        else:
            others.append(text)
    if result.returncode != 0 and not names:
        others.append(result.stderr)
    return names, others


def main(compiler, root):
    names, problems = refused(compiler, root, RIGHT)
    problems += [f"{name}: refused, though it is right" for name in names]
    names, others = refused(compiler, root, WRONG)
    problems += others + [f"{name}: not refused" for name in WRONG if name not in names]
    print("\n".join(problems) or f"{len(RIGHT)} accepted, {len(WRONG)} refused")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
