#!/usr/bin/env python3
"""Writes a C++ file in which each public header's worked examples are functions, so that the tests compile them.

    header_examples.py INCLUDE_DIR OUTPUT

An example is the indented lines of a header's comment after "// Example:" or at its top, before the first line of code.
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
extern std::string image, model_name, text;
"""
# Per header: what stands in front of its example.
SETUP = {
    "cache.h": "tensorcache::Key key;",
    "dlpack.h": "tensorcache::TensorCache cache({});",
}


def examples(header):
    comment = header.read_text().split("#pragma once")[0]
    blocks, block = [], []
    for line in comment.splitlines() + [""]:
        if re.match(r"//   \S|//    ", line) or (line == "//" and block):
            block.append(line[2:])
        elif block:
            blocks.append(block)
            block = []
    return ["\n".join(block) for block in blocks if any(line.strip() for line in block)]


def main(include, output):
    headers = sorted(path for path in include.glob("tensorcache/*.h") if path.name != "tensorcache.h")
    text = "".join(f'#include "tensorcache/{path.name}"\n' for path in headers) + "#include <dlpack/dlpack.h>\n" + PREAMBLE
    for path in headers:
        found = examples(path)
        if not found:
            sys.exit(f"{path}: no worked example in its comment")
        for number, body in enumerate(found):
            text += f"// {path.name}\nvoid example_{path.stem}_{number}() {{\n{SETUP.get(path.name, '')}\n{body}\n}}\n"
    output.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
