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


def test_tensors_as_keys_never_meet_what_is_different(cache):
    with pytest.raises(TypeError, match="bool"):
        cache.get(tuple(torch.tensor([True, False])))
    cache.add((torch.tensor([5]),), "one row")
    assert cache.get((5,)) is None and cache.get(torch.tensor([5])) is None
    cache.add(("model", *torch.tensor([7, 8])), "mixed")
    assert cache.get(("model", 7, 8)) == "mixed"


def test_share_can_be_the_caches_own():
    value = torch.arange(1000, dtype=torch.float32)
    with TensorCache("8MiB", share=True) as cache:
        cache.add("k", (value, value.to(torch.bfloat16)))
        for one, two in zip(cache.get("k"), cache.get_or_compute("k", lambda: pytest.fail("it is there"))):
            assert one.data_ptr() == two.data_ptr()
        assert cache.get("k")[1].dtype is torch.bfloat16 and cache.get("k", share=False)[0].data_ptr() != cache.get("k")[0].data_ptr()
        kept = cache.get("k")[0]
        cache.remove("k")
        for number in range(1000):
            cache.add(number, np.full(10_000, 7, np.uint8))
        assert torch.equal(kept, value), "it is pinned"


def test_the_layout_is_kept(cache):
    for dtype in (torch.float32, torch.bfloat16):
        value = torch.arange(120).reshape(1, 2, 6, 10).to(dtype).contiguous(memory_format=torch.channels_last)
        cache.add("k", value)
        for share in (False, True):
            assert cache.get("k", share=share).stride() == value.stride() and torch.equal(cache.get("k", share=share), value)


def test_kinds_of_tensors(cache):
    class Mine(torch.Tensor):
        pass

    cache.add("k", torch.nn.Parameter(torch.ones(3)))
    assert type(cache.get("k")) is torch.Tensor
    for value, says in ((torch.ones(3).as_subclass(Mine), "as_subclass"), (torch.eye(3).to_sparse_csr(), "to_dense"),
                        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "dequantize")):
        with pytest.raises(TypeError, match=says):
            cache.add("k", value)


def test_what_models_return(cache):
    """Lists of tensors, named tuples of torch's own, and outputs as transformers has them."""
    from test_classes import CausalLMOutput
    logits = torch.arange(6.0).reshape(2, 3)
    output = CausalLMOutput(logits=logits, hidden_states=(logits, logits.to(torch.bfloat16)))
    found = cache.get_or_compute("k", lambda: [output, torch.topk(logits, 2), logits.max(dim=1)])
    for _ in range(2):
        assert type(found) is list and type(found[0]) is CausalLMOutput and found[0]["logits"] is found[0].logits
        assert torch.equal(found[0].logits, logits) and found[0].hidden_states[1].dtype is torch.bfloat16 and found[0].loss is None
        assert type(found[1]) is torch.return_types.topk and torch.equal(found[1].indices, torch.topk(logits, 2).indices)
        assert type(found[2]) is torch.return_types.max and torch.equal(found[2].values, logits.max(dim=1).values)
        found = cache.get_or_compute("k", lambda: 1 / 0)
