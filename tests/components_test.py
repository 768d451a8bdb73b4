#!/usr/bin/env python3
"""Checks the source tree's dependency rules: what each component may include, what its CMake target may link, and its namespace.

COMPONENTS is the one table. Components are listed lowest first; each names the components that its files may include. src/README.md must
list the same components in the same order.
"""
import re
import sys
import tempfile
from pathlib import Path

COMPONENTS = {
    "base/core": [],
    "base/file": ["base/core"],
    "base/json": ["base/core"],
    "base/net": ["base/core", "base/json"],
    "store/policy": ["base/core"],
    "store/memory": ["base/core", "store/policy"],
    "store/tier": ["base/core"],
    "store/disk": ["base/core", "base/file", "store/tier"],
    "store/cache": ["base/core", "base/file", "store/policy", "store/memory", "store/tier", "store/disk"],
    "store/prefix": ["base/core"],
    "store/sizing": ["base/core", "store/cache"],
    "library/tensor": ["base/core", "base/file", "store/cache"],
    "library/capi": ["base/core", "library/tensor"],
    "serving/engine": ["base/core"],
    "serving/model": ["base/core", "serving/engine"],
    "serving/llama": ["base/core", "store/cache", "store/prefix", "store/sizing", "serving/engine", "serving/model"],
    "serving/answer": ["base/core", "store/cache", "serving/engine"],
    "serving/protocol": ["base/core", "base/json", "base/net", "serving/engine"],
    "serving/server": ["base/core", "base/json", "base/net", "store/cache", "store/sizing", "serving/engine", "serving/answer",
                       "serving/protocol"],
    "tools/trace": ["base/core", "base/json"],
    "tools/simulate": ["base/core", "base/json", "store/policy", "tools/trace"],
    "tools/loadgen": ["base/core", "base/json", "base/net", "tools/trace"],
    "app/options": ["base/core", "base/file"],
    "app/commands": ["*"],   # the binary: it puts the others together
}
WINGS = {"base": [], "store": ["base"], "library": ["base", "store"], "serving": ["base", "store"], "tools": ["base", "store"],
         "app": ["base", "store", "library", "serving", "tools"]}
# Components whose names are in namespace tensorcache itself: the vocabulary of all, and what implements the public headers.
ROOT = {"base/core"}
ROOT_TOO = {"store/memory", "store/cache", "library/tensor", "library/capi"}
# Public headers that components below store/cache may include. The others declare classes that stand above them.
LOW_HEADERS = {"key.h", "hints.h", "types.h", "handle.h"}
BELOW_CACHE = {name for name in COMPONENTS if name.startswith("base/")} | {"store/policy", "store/memory", "store/tier", "store/disk",
                                                                           "store/prefix"}
TEST_FILE = re.compile(r"_(test|bench)\.cc$")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
ANY_INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
USES = re.compile(r"tensorcache_component\(\s*(\w+)([^)]*)\)", re.DOTALL)
NAMESPACE = re.compile(r"^namespace (tensorcache[\w:]*) \{", re.MULTILINE)


def component_of(path):
    parts = Path(path).parts
    return "/".join(parts[:2]) if len(parts) > 2 else None


def allowed(component, other):
    return component == other or "*" in COMPONENTS[component] or other in COMPONENTS[component]


def table_problems():
    found = []
    order = list(COMPONENTS)
    for component, others in COMPONENTS.items():
        for other in others:
            if other == "*":
                continue
            if order.index(other) > order.index(component):
                found.append(f"COMPONENTS: {component} may not use {other}, which stands above it")
            wing, other_wing = component.split("/")[0], other.split("/")[0]
            if wing != other_wing and other_wing not in WINGS[wing]:
                found.append(f"COMPONENTS: the wing {wing} may not use the wing {other_wing}")
    return found


def include_problems(root, path):
    src = root / "src"
    relative, found = path.relative_to(src), []
    component = component_of(relative)
    is_test = bool(TEST_FILE.search(path.name)) or relative.parts[0] == "testing"
    for included in INCLUDE.findall(path.read_text()):
        name = f"{path.relative_to(root)}: \"{included}\""
        if included.startswith("tensorcache/"):
            if component in BELOW_CACHE and not is_test and included.split("/")[1] not in LOW_HEADERS:
                found.append(f"{name} declares what stands above {component}")
            continue
        other = component_of(included)
        if other is None or not (src / included).exists():
            found.append(f"{name} is not a file of a component; write includes whole from src/")
        elif other.startswith("testing/"):
            if not is_test:
                found.append(f"{name}: only tests may include src/testing")
        elif not is_test and not allowed(component, other):
            found.append(f"{name}: {component} may not include {other}")
    return found


def cmake_problems(root, component):
    listing = root / "src" / component / "CMakeLists.txt"
    if not listing.exists():
        return [f"src/{component}: has no CMakeLists.txt"]
    text = re.sub(r"#[^\n]*", "", listing.read_text())
    targets = USES.findall(text)
    by_name = {name.split("/")[1]: name for name in COMPONENTS}
    found = []
    if len(targets) > 1 or (component != "library/capi" and len(targets) != 1):
        found.append(f"src/{component}/CMakeLists.txt: makes {len(targets)} components; a folder is one")
    for name, rest in targets:
        if by_name.get(name) != component:
            found.append(f"src/{component}/CMakeLists.txt: names its component {name}")
        for target in re.findall(r"\btc_(\w+)", rest.partition("USES")[2]):
            other = by_name.get(target)
            if other is None or not allowed(component, other):
                found.append(f"src/{component}/CMakeLists.txt: may not link tc_{target}")
    return found


def namespace_problems(root, component):
    own = {f"tensorcache::{component.split('/')[1]}"}
    if component in ROOT:
        own = {"tensorcache"}
    elif component in ROOT_TOO:
        own.add("tensorcache")
    found = []
    for path in sorted((root / "src" / component).rglob("*.*")):
        if path.suffix in (".h", ".cc"):
            for namespace in set(NAMESPACE.findall(path.read_text())) - own:
                found.append(f"{path.relative_to(root)}: opens {namespace}; this component's is {sorted(own)[-1]}")
    return found


def circle_problems(root):
    """A header and its source count as one file: a circle through both is one as well."""
    src = root / "src"
    includes = {}
    for path in sorted(src.rglob("*.*")):
        if path.suffix in (".h", ".cc"):
            own = str(path.relative_to(src).with_suffix(""))
            others = {str(Path(name).with_suffix("")) for name in INCLUDE.findall(path.read_text()) if (src / name).exists()}
            includes.setdefault(own, set()).update(others - {own})
    found, done = [], set()

    def walk(name, way):
        if name in way:
            circle = way[way.index(name):]
            found.append(f"src: an include circle: {' -> '.join([*circle, name])}")
        elif name not in done:
            for other in sorted(includes.get(name, ())):
                walk(other, [*way, name])
            done.add(name)

    for name in sorted(includes):
        walk(name, [])
    return found


def readme_problems(root):
    readme = root / "src/README.md"
    listed = re.findall(r"^\| `([a-z]+/[a-z]+)` \|", readme.read_text() if readme.exists() else "", re.MULTILINE)
    return [] if listed == list(COMPONENTS) else ["src/README.md: its components, or their order, differ from COMPONENTS"]


def problems(root):
    src = root / "src"
    found = table_problems() + readme_problems(root) + circle_problems(root)
    folders = {"/".join(folder.relative_to(src).parts) for wing in src.iterdir() if wing.is_dir() for folder in wing.iterdir() if folder.is_dir()}
    for component in sorted({name for name in folders if not name.startswith("testing/")} ^ set(COMPONENTS)):
        found.append(f"src/{component}: the folders and COMPONENTS differ")
    for path in sorted(src.rglob("*.*")):
        if path.suffix in (".h", ".cc"):
            if len(path.relative_to(src).parts) < 3:
                found.append(f"{path.relative_to(root)}: no source file stands directly in a wing")
            else:
                found += include_problems(root, path)
    for component in sorted(set(COMPONENTS) & folders):
        found += cmake_problems(root, component) + namespace_problems(root, component)
    for path in sorted((root / "include").rglob("*.h")):
        for included in ANY_INCLUDE.findall(path.read_text()):
            if "/" in included and not included.startswith("tensorcache/"):
                found.append(f"{path.relative_to(root)}: a public header includes {included}; the standard library only")
    return found


def make_tree(root):
    """A tree without a problem: each component includes one file of each that it may use."""
    rows = []
    for component, others in COMPONENTS.items():
        folder = root / "src" / component
        folder.mkdir(parents=True)
        others = [other for other in others if other != "*"]
        namespace = "tensorcache" if component in ROOT else f"tensorcache::{component.split('/')[1]}"
        includes = "".join(f'#include "{other}/it.h"\n' for other in others)
        (folder / "it.h").write_text(f"{includes}namespace {namespace} {{\n}}\n")
        uses = " ".join("tc_" + other.split("/")[1] for other in others)
        (folder / "CMakeLists.txt").write_text(f"tensorcache_component({component.split('/')[1]} it.cc USES {uses})\n")
        rows.append(f"| `{component}` | what it is |\n")
    (root / "src/README.md").write_text("".join(rows))
    (root / "include").mkdir()
    (root / "src/testing/core").mkdir(parents=True)
    (root / "src/testing/core/values.h").write_text("")


def self_check():
    """A test that cannot fail is a defect: adds each forbidden include and each forbidden link in turn, and each must be found."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_tree(root)
        (root / "src/app/commands/wrong.cc").write_text("")   # problems() looks at every file: once is enough to show that
        (root / "src/base/core/wrong.cc").write_text('#include "store/disk/it.h"\n')
        missed = [] if any("wrong.cc" in line for line in problems(root)) else ["problems() does not look at every file"]
        (root / "src/app/commands/wrong.cc").unlink()
        (root / "src/base/core/wrong.cc").unlink()
        missed += [f"a good tree is refused: {line}" for line in problems(root)]
        for component in COMPONENTS:
            for other in COMPONENTS:
                if allowed(component, other):
                    continue
                wrong = root / "src" / component / "wrong.cc"
                wrong.write_text(f'#include "{other}/it.h"\n')
                listing = root / "src" / component / "CMakeLists.txt"
                good = listing.read_text()
                listing.write_text(good.replace("USES", f"USES tc_{other.split('/')[1]}"))
                if not include_problems(root, wrong):
                    missed.append(f"{component} may include {other} unnoticed")
                if not cmake_problems(root, component):
                    missed.append(f"{component} may link {other} unnoticed")
                wrong.unlink()
                listing.write_text(good)
        for name, content in {"src/base/loose.h": "", "src/base/core/uses_tests.cc": '#include "testing/core/values.h"\n',
                              "src/store/disk/high.cc": '#include "tensorcache/cache.h"\n', "src/base/file/short.cc": '#include "it.h"\n',
                              "src/store/disk/foreign.cc": "namespace tensorcache::memory {\n}\n", "src/store/new/it.h": ""}.items():
            path = root / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
            if not problems(root):
                missed.append(f"{name} is not noticed")
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
        circle = {"left.h": "", "left.cc": "base/core/right.h", "right.h": "base/core/left.h"}
        for name, included in circle.items():
            (root / "src/base/core" / name).write_text(f'#include "{included}"\n' if included else "")
        if not any("left -> base/core/right -> base/core/left" in line for line in problems(root)):
            missed.append("a circle of includes is not noticed")
    return missed


if __name__ == "__main__":
    lines = self_check() or problems(Path(sys.argv[1]))
    print("\n".join(lines) or f"{len(COMPONENTS)} components are in order")
    sys.exit(bool(lines))
