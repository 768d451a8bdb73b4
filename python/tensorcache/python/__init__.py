"""The place of the classic interface: ``from tensorcache.python.tensorcache import TensorCache``."""
