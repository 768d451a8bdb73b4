"""JAX arrays go in and come out as such."""
import numpy as np
import pytest

jax = pytest.importorskip("jax")
jnp = jax.numpy


@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "uint8", "float16", "bfloat16", "float32", "complex64"])
def test_types(cache, dtype):
    value = (jnp.arange(12) % 5).reshape(3, 4).astype(dtype)
    cache.add("k", value)
    cache.add("pair", {"a": (value.T, 1)})
    for found, given in ((cache.get("k"), value), (cache.get("pair")["a"][0], value.T), (cache.get("k", share=True), value)):
        assert isinstance(found, jax.Array) and found.dtype == given.dtype and found.shape == given.shape
        np.testing.assert_array_equal(np.asarray(found), np.asarray(given))


def test_a_function_of_jax_memoized(cache):
    from tensorcache import memoize
    calls = []

    @memoize(cache, name="embed", key=lambda tokens: np.asarray(tokens))
    def embed(tokens):
        calls.append(1)
        return jnp.cos(tokens.astype(jnp.float32))

    tokens = jnp.array([1, 2, 3])
    np.testing.assert_array_equal(embed(tokens), embed(tokens))
    assert len(calls) == 1 and cache.get(embed.cache_key(tokens)).shape == (3,)


def test_arrays_of_integers_as_keys(cache):
    cache.add(jnp.array([7, 8, 9]), "v")
    assert cache.get((7, 8, 9)) == "v" and cache.get(tuple(jnp.array([7, 8, 9]))) == "v"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_hit_is_the_caches_memory_and_cannot_be_written(cache, dtype):
    value = jnp.arange(10_000).astype(dtype)
    cache.add("k", value)
    one, two = cache.get("k"), cache.get("k")
    assert one.unsafe_buffer_pointer() == two.unsafe_buffer_pointer()
    jax.jit(lambda array: array + 1, donate_argnums=0)(one)   # a donated buffer may be written, but not one that JAX borrowed
    cache.remove("k")
    for number in range(1000):
        cache.add(number, np.full(100_000, 7, np.uint8))   # evicts
    np.testing.assert_array_equal(np.asarray(two), np.asarray(value))


def test_64_bits_are_not_cut_off_in_silence(cache):
    with jax.experimental.enable_x64():
        cache.add("k", jnp.arange(3, dtype=jnp.float64))
        assert cache.get("k").dtype == jnp.float64
    with pytest.raises(TypeError, match="jax_enable_x64"):
        cache.get("k")
