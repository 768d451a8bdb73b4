#!/usr/bin/env python3
"""Compiles programs that use the public headers wrongly: each must be refused, with the text that names the mistake.

    misuse_test.py SOURCE_DIR COMPILER...

Every wrong program has a right one beside it that differs in the mistake alone and must compile. Views that outlive their
value are found by clang only.
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROLOGUE = """\
#include "tensorcache/cache.h"
#include "tensorcache/tensor_cache.h"
#include "tensorcache/cache_manager.h"
using namespace tensorcache;
"""
CACHE, TENSORS = "Cache& cache, const Key& key", "TensorCache& cache"
CHAIN = "Cache& cache, std::span<const Key> chain"
DANGLES = r"temporary .* will be destroyed at the end of the full-expression"
DELETED = r"use (of|a) deleted|call to deleted|call to implicitly-deleted|deleted copy"
IGNORED = r"ignoring return value .*nodiscard"
# name: (parameters, wrong body, right body, text of the error)
CASES = {
    "a value kept without its handle": (
        CACHE, "const auto value = cache.get(key).bytes(); (void)value;",
        "const Handle hit = cache.get(key); const auto value = hit.bytes(); (void)value;", DANGLES),
    "a text kept without its handle": (
        CACHE, "const std::string_view text = cache.get(key).text(); (void)text;",
        "const bool same = cache.get(key).text() == \"text\"; (void)same;", DANGLES),
    "blocks kept without their match": (
        CHAIN, "for (const auto block : cache.match(chain).blocks()) (void)block;",
        "const auto match = cache.match(chain); for (const auto block : match.blocks()) (void)block;", DANGLES),
    "space kept without its reservation": (
        CACHE, "const auto space = cache.reserve(key, 8).bytes(); (void)space;",
        "const auto reserved = cache.reserve(key, 8); const auto space = reserved.bytes(); (void)space;", DANGLES),
    "a tensor kept without its hit": (
        TENSORS, "const auto view = cache.get(\"key\").tensor(); (void)view;",
        "const auto hit = cache.get(\"key\"); const auto view = hit.tensor(); (void)view;", DANGLES),
    "a structure kept without its hit": (
        TENSORS, "const auto structure = cache.get(\"key\").structure(); (void)structure;",
        "const auto hit = cache.get(\"key\"); const auto structure = hit.structure(); (void)structure;", DANGLES),
    "a view kept without its tensor": (
        "", "const auto view = Tensor(DType::kInt8, {3}).view(); (void)view;",
        "const Tensor tensor(DType::kInt8, {3}); const auto view = tensor.view(); (void)view;", DANGLES),
    "a key that is no text": (TENSORS, "(void)cache.get(nullptr);", "(void)cache.get(\"\");", DELETED),
    "a text for a Key": (CACHE, "(void)key; (void)cache.get(\"text\");", "(void)key; (void)cache.get(Key::of(\"text\"));",
                         r"cannot convert|no viable conversion|could not bind to an lvalue of type"),
    "a copy of a handle": (CACHE, "const Handle a = cache.get(key); const Handle b = a;",
                           "Handle a = cache.get(key); const Handle b = std::move(a);", DELETED),
    "a copy of a match": (CHAIN, "const PrefixMatch a = cache.match(chain); const PrefixMatch b = a;",
                          "PrefixMatch a = cache.match(chain); const PrefixMatch b = std::move(a);", DELETED),
    "a commit that keeps the reservation": (CACHE, "Reservation a = cache.reserve(key, 8); cache.commit(a);",
                                            "Reservation a = cache.reserve(key, 8); cache.commit(std::move(a));", DELETED),
    "a copy of a lease": (TENSORS, "const Lease a = cache.lease(\"key\", {}, {}); const Lease b = a;",
                          "Lease a = cache.lease(\"key\", {}, {}); const Lease b = std::move(a);", DELETED),
    "a copy of a cache": ("Cache& cache", "const Cache copy(cache);", "const Cache& same(cache); (void)same;", DELETED),
    "a copy of a tensor cache": (TENSORS, "const TensorCache copy(cache);", "const TensorCache moved(std::move(cache));", DELETED),
    "a put whose status is ignored": (CACHE, "cache.put(key, std::string_view(\"value\"));",
                                      "(void)cache.put(key, std::string_view(\"value\"));", IGNORED),
    "a get whose handle is ignored": (CACHE, "cache.get(key);", "(void)cache.get(key);", IGNORED),
    "a match that is ignored": (CHAIN, "cache.match(chain);", "(void)cache.match(chain);", IGNORED),
    "an add whose status is ignored": (TENSORS, "cache.add(\"key\", TensorView::text(\"value\"));",
                                       "(void)cache.add(\"key\", TensorView::text(\"value\"));", IGNORED),
    "a lease that is ignored": (TENSORS, "cache.lease(\"key\", {}, {});", "(void)cache.lease(\"key\", {}, {});", IGNORED),
}
FLAGS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wno-unused-variable", "-Werror"]


def errors(compiler, flags, root, bodies):
    """RETURNS: the error texts by the name of the case, and those that belong to no case."""
    lines = PROLOGUE.splitlines()
    first = len(lines) + 1
    lines += [f"void case_{i}({CASES[name][0]}) {{ {body} }}" for i, (name, body) in enumerate(bodies.items())]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "cases.cc"
        source.write_text("\n".join(lines) + "\n")
        result = subprocess.run([compiler, *flags, f"-I{root}/include", str(source)], capture_output=True, text=True,
                                env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"})
    found, stray = {}, []
    for path, line, message in re.findall(r"^(.*?):(\d+):\d+: (?:fatal )?error: (.*)", result.stderr, re.MULTILINE):
        if Path(path).name == "cases.cc" and int(line) >= first:
            found.setdefault(list(bodies)[int(line) - first], []).append(message)
        else:
            stray.append(f"{path}:{line}: {message}")
    if result.returncode != 0 and not found and not stray:
        stray.append(result.stderr)
    return found, stray


def problems(compiler, root):
    clang = "clang" in subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    flags = FLAGS + (["-ferror-limit=0"] if clang else [])
    cases = {name: case for name, case in CASES.items() if clang or case[3] != DANGLES}
    right, stray = errors(compiler, flags, root, {name: case[2] for name, case in cases.items()})
    lines = stray + [f"{name}: the right program is refused: {texts[0]}" for name, texts in right.items()]
    wrong, _ = errors(compiler, flags, root, {name: case[1] for name, case in cases.items()})
    for name, (_, _, _, expected) in cases.items():
        texts = wrong.get(name, [])
        if not texts:
            lines.append(f"{name}: not refused")
        elif not any(re.search(expected, text) for text in texts):
            lines.append(f"{name}: refused for another reason: {texts}")
    return [f"{Path(compiler).name}: {line}" for line in lines], len(cases)


def main(root, compilers):
    failed = False
    for compiler in compilers:
        lines, count = problems(compiler, root)
        failed |= bool(lines)
        print("\n".join(lines) or f"{Path(compiler).name}: {count} wrong programs refused, {count} right ones accepted")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
