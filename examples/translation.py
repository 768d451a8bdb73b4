#!/usr/bin/env python3
"""Translation with a cache keyed by tokens around a real small model: SmolLM2 135M, its own tokenizer, run by `tensorcache serve`.

Shows: tokens in, tokens out, computed once; the cache is this program's own (the server's is off) and is on disk for the next run.
Does not show: good French. The model is too small to translate; what is saved is its time."""
import tempfile

import gguf
import numpy as np
from local_server import MODEL, seconds, serving
from openai import OpenAI
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tensorcache import TensorCache

SENTENCES = ["Good morning.", "Where is the station?", "Thank you very much.", "Good morning.", "Where is the station?", "Good morning.",
             "Thank you very much.", "Good morning."]


def tokenizer_of(path):
    """The model's own byte-pair tokenizer, out of its file."""
    fields = gguf.GGUFReader(path).fields
    words, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, [tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


class Translator:
    def __init__(self, url):
        self.client, self.tokenizer, self.runs = OpenAI(base_url=url, api_key="none"), tokenizer_of(MODEL), 0
        self.model = self.client.models.list().data[0].id

    def tokens(self, sentence):
        return tuple(self.tokenizer.encode(f"English: {sentence}\nFrench:").ids)

    def run(self, tokens):
        """Tokens in, tokens out: the model itself."""
        self.runs += 1
        reply = self.client.completions.create(model=self.model, prompt=self.tokenizer.decode(list(tokens)), max_tokens=12, temperature=0, stop=["\n"],
                                               extra_headers={"Cache-Control": "no-cache, no-store"})
        return np.array(self.tokenizer.encode(reply.choices[0].text).ids, np.int32)


def translate_all(translator, cache):
    def one(sentence):
        tokens = translator.tokens(sentence)
        return cache.get_or_compute(("translate", translator.model, tokens), lambda: translator.run(tokens))

    return [translator.tokenizer.decode(one(sentence).tolist()) for sentence in SENTENCES]


def main():
    with tempfile.TemporaryDirectory() as folder, serving("--disk", "off") as url:
        translator = Translator(url)
        plain, without = seconds(lambda: [translator.tokenizer.decode(translator.run(translator.tokens(s)).tolist()) for s in SENTENCES])
        translator.runs = 0
        with TensorCache("64MiB", path=folder) as cache:
            first, with_cache = seconds(lambda: translate_all(translator, cache))
        with TensorCache("64MiB", path=folder) as cache:   # as a later run of the program would
            second, later = seconds(lambda: translate_all(translator, cache))
    assert first == second == plain and translator.runs == len(set(SENTENCES))
    print(f"{len(SENTENCES)} sentences, {len(set(SENTENCES))} different; the first: {SENTENCES[0]!r} -> {first[0].strip()!r}")
    print(f"without a cache {without:.2f} s, with it {with_cache:.2f} s ({without / with_cache:.1f} times as fast), in a later run {1000 * later:.1f} ms")


if __name__ == "__main__":
    main()
