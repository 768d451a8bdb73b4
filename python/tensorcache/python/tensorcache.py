"""The classic interface: add, get, remove, clear. The same classes as in ``tensorcache`` itself."""
from .._cache import TensorCache
from .._manager import CacheManager

__all__ = ["CacheManager", "TensorCache"]
