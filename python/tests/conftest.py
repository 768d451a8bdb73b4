import pytest

from tensorcache import TensorCache


@pytest.fixture
def cache():
    with TensorCache("64MiB") as opened:
        yield opened
