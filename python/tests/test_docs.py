"""The Python on docs/python.md and in the README runs as it stands there."""
import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def blocks(path):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / path).read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def namespace(monkeypatch):
    """Of a module, where classes are found again."""
    module = types.ModuleType("docs_page")
    monkeypatch.setitem(sys.modules, "docs_page", module)
    return vars(module)


def test_docs_python(capsys, namespace):
    code = blocks("docs/python.md")
    assert len(code) >= 8
    for block in code:
        exec(compile(block, "docs/python.md", "exec"), namespace)
    (shown,) = re.findall(r"^print\(cache\) +# (.*)$", "\n".join(code), re.MULTILINE)
    assert re.match(re.escape(shown).replace(r"\.\.\.", ".*"), capsys.readouterr().out)


def test_docs_python_with_torch(namespace):
    pytest.importorskip("torch")
    (code,) = re.findall(r"^```py\n(.*?)^```", (ROOT / "docs/python.md").read_text(), re.MULTILINE | re.DOTALL)
    from tensorcache import TensorCache
    with TensorCache("64MiB") as namespace["cache"]:
        for _ in range(2):
            exec(compile(code, "docs/python.md", "exec"), namespace)
        assert namespace["cache"].stats()["computations"] == 1


def test_readme():
    code = [block for block in blocks("README.md") if "tensorcache import" in block]
    assert len(code) == 1
    exec(compile(code[0], "README.md", "exec"), {})


def test_stubs_and_docstrings():
    import inspect

    import tensorcache
    folder = Path(tensorcache.__file__).parent
    assert (folder / "py.typed").exists() and (folder / "_core.pyi").exists()
    for thing in (tensorcache.TensorCache, tensorcache.CacheManager, tensorcache.memoize):
        assert thing.__doc__
    stub = (folder / "_core.pyi").read_text()
    for name, member in inspect.getmembers(tensorcache._core.Cache):
        if not name.startswith("_"):
            assert re.search(rf"def {name}\(", stub), name
    for name in dir(tensorcache.TensorCache):
        if not name.startswith("_") and name not in ("closed", "name"):
            assert getattr(tensorcache.TensorCache, name).__doc__, name
