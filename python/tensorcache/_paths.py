"""A path that another process uses, and what to do then."""
from __future__ import annotations

from typing import Any, Dict

from . import _core


class PathInUseError(RuntimeError):
    """Another cache, of this process or another, has the path open."""


def open_core(options: Dict[str, Any]) -> "_core.Cache":
    """The compiled cache; an error that says what to do where its path is in use."""
    try:
        return _core.Cache(options)
    except RuntimeError as error:
        if "another process uses it" not in str(error):
            raise
        path = options["path"]
        raise PathInUseError(
            f"path={path!r} is in use: another process has it open, or this one has already, and one at a time may. With several workers (gunicorn, uvicorn, "
            f"DataLoader, torchrun) give each its own directory, by a number that is the same at every start: path={path + '/worker-0'!r}, {path + '/worker-1'!r}, "
            "... (not os.getpid(), which changes, so that nothing is found again); or open the path in one process and let the others ask that one; or "
            "leave path out for a cache in memory. docs/python.md has an example") from error
