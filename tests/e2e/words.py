"""Texts of a wanted length that no other test has."""
import random

NOUNS = "river engine letter garden window market bridge doctor winter paper circle forest silver castle mirror harbor".split()
VERBS = "moves follows answers carries watches opens measures paints keeps builds".split()


def text(seed, words):
    source = random.Random(seed)
    return " ".join(f"the {source.choice(NOUNS)} {source.choice(VERBS)}" for _ in range(words // 3)) + "."
