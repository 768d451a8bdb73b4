"""The package and a program that uses it, as a strict type checker sees them."""
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")


@pytest.mark.parametrize("what", [["-p", "tensorcache"], [str(Path(__file__).with_name("typed_program.py"))]], ids=["package", "program"])
def test_mypy_strict(what, tmp_path):
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path, *what], capture_output=True, text=True, timeout=110,
                          cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
