"""torch tensors go in and come out as such."""
import numpy as np
import pytest

from tensorcache.python.tensorcache import CacheManager, TensorCache

torch = pytest.importorskip("torch")

DTYPES = [torch.bool, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64,
          torch.complex64, torch.complex128]


class Outputs:
    def __init__(self, logits):
        self.logits = logits


class Model(torch.nn.Module):
    """A small real one: tokens in, logits out."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = torch.nn.Embedding(100, 16), torch.nn.Linear(16, 100)
        self.runs = 0

    def forward(self, ids):
        self.runs += 1
        return Outputs(self.head(self.embed(ids)))


@pytest.mark.parametrize("made", [lambda: TensorCache(cache_size=1024), lambda: CacheManager(cache_size=1024)], ids=["cache", "manager"])
def test_the_classic_program(made):
    cache, model, answers = made(), Model(), []
    for _ in range(3):
        input_ids = [7, 8, 9]
        key = tuple(input_ids)
        value = cache.get(key)
        if value is None:
            outputs = model(torch.tensor([input_ids]))
            cache.add(key, outputs.logits.argmax(dim=-1))
            value = cache.get(key)
        answers.append(value)
    assert model.runs == 1 and all(type(answer) is torch.Tensor for answer in answers)
    assert answers[0].dtype is torch.int64 and answers[0].shape == (1, 3) and torch.equal(answers[0], answers[2])
    cache.close()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_types(cache, dtype):
    value = (torch.arange(24).reshape(2, 3, 4) % 7).to(dtype)
    for given in (value, value[:, ::2, 1], value.permute(2, 0, 1), value[0, 0, 0]):
        cache.add("k", given)
        found = cache.get("k")
        assert type(found) is torch.Tensor and found.dtype is dtype and torch.equal(found, given)
        found.zero_()   # it is a copy
        assert torch.equal(cache.get("k"), given)


def test_shared_memory_by_choice(cache):
    value = torch.arange(1000, dtype=torch.float32)
    cache.add("k", value)
    cache.add("pair", (value, "x"))
    one, two = cache.get("k", share=True), cache.get("k", share=True)
    assert torch.equal(one, value) and one.data_ptr() == two.data_ptr()
    assert torch.equal(cache.get("pair", share=True)[0], value)
    cache.add("array", np.arange(3))
    assert not cache.get("array", share=True).flags.writeable


def test_gradients_are_left_behind(cache):
    cache.add("k", {"logits": torch.ones(3, requires_grad=True) * 2})
    assert not cache.get("k")["logits"].requires_grad


def test_tensors_of_integers_as_keys(cache):
    ids = torch.tensor([7, 8, 9])
    cache.add(tuple(ids), "v")
    assert cache.get((7, 8, 9)) == "v" and cache.get(ids) == "v"
    assert cache.get(tuple(ids[None])) is None and cache.get(ids[None]) is None
    with pytest.raises(TypeError, match="float32"):
        cache.get(torch.ones(2))


def test_what_cannot_be_stored_says_so(cache):
    with pytest.raises(TypeError, match="to_dense"):
        cache.add("k", torch.ones(3).to_sparse())
    with pytest.raises(TypeError, match="cpu"):
        cache.add("k", torch.ones(3, device="meta"))
