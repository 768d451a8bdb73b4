#!/usr/bin/env python3
"""Writes a C++ file, and for the C header a C file, in which each public header's worked examples and the code of docs/cpp.md are
functions, so that the tests compile them.

    header_examples.py SOURCE_DIR OUTPUT.cc OUTPUT.c

An example is the indented lines in the comment at the top of a header.
"""
import re
import sys
from pathlib import Path

# What the examples speak of and leave out.
PREAMBLE = """
std::vector<std::byte> encode(const std::string&);
tensorcache::Tensor run_model(const std::vector<std::int32_t>&);
template <class T>
void use(const T&);
void retry();
void report(const char*);
extern std::string image, model_name, text;
"""
C_PREAMBLE = """#include "tensorcache/tensorcache.h"
static int fail(const char* message) { return message != 0; }
static void use(const float* numbers) { (void)numbers; }
"""
# Per header: what stands in front of its example.
SETUP = {
    "cache.h": "tensorcache::Key key;",
    "handle.h": "tensorcache::Cache cache({});\ntensorcache::Key key;",
    "hints.h": "tensorcache::Key key;",
    "types.h": 'tensorcache::Cache cache({});\ntensorcache::Key key;\nstd::string value;',
    "dlpack.h": "tensorcache::TensorCache cache({});",
}


def examples(header):
    comment = re.split("#pragma once|#ifndef", header.read_text())[0].replace("\n *", "\n//")
    blocks, block = [], []
    for line in comment.splitlines() + [""]:
        if re.match(r"//   \S|//    ", line) or (line == "//" and block):
            block.append(line[2:])
        elif block:
            blocks.append(block)
            block = []
    return ["\n".join(block) for block in blocks if any(line.strip() for line in block)]


def main(root, output, c_output):
    include = root / "include"
    headers = sorted(path for path in include.glob("tensorcache/*.h") if path.name != "tensorcache.h")
    text = "#include <iostream>\n" + "".join(f'#include "tensorcache/{path.name}"\n' for path in headers) + "#include <dlpack/dlpack.h>\n" + PREAMBLE
    for path in headers:
        found = examples(path)
        if not found:
            sys.exit(f"{path}: no worked example in its comment")
        for number, body in enumerate(found):
            text += f"// {path.name}\nvoid example_{path.stem}_{number}() {{\n{SETUP.get(path.name, '')}\n{body}\n}}\n"
    blocks = re.findall(r"^```cpp\n(.*?)^```", (root / "docs/cpp.md").read_text(), re.MULTILINE | re.DOTALL)
    text += "void example_docs() {\n" + "".join(blocks) + "}\n"
    output.write_text(text)
    (body,) = examples(include / "tensorcache/tensorcache.h")
    c_output.write_text(f"{C_PREAMBLE}int example_tensorcache(void);\nint example_tensorcache(void) {{\n{body}\nreturn 0;\n}}\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
