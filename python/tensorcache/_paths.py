"""Opening a path, and the error if another cache has it open."""
from __future__ import annotations

from typing import Any, Dict

from . import _core


class PathInUseError(RuntimeError):
    """The path is open in another cache, of this or another process."""


def open_core(options: Dict[str, Any]) -> "_core.Cache":
    """Opens the compiled cache. Raises PathInUseError with advice if its path is in use."""
    try:
        return _core.Cache(options)
    except RuntimeError as error:
        if "another process uses it" not in str(error):
            raise
        path = options["path"]
        raise PathInUseError(
            f"path={path!r} is in use: it is open in another process, or already in this one; only one process at a time may use it. With several workers "
            f"(gunicorn, uvicorn, DataLoader, torchrun) give each its own directory, with a number that is the same at every start: "
            f"path={path + '/worker-0'!r}, {path + '/worker-1'!r}, ... (not os.getpid(), which changes at every start); or open the path in one process "
            "that serves the others; or leave path out for a cache in memory. See docs/python.md for an example") from error
