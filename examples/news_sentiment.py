#!/usr/bin/env python3
"""Sentiment over a stream of news in which agencies repeat each other: VADER, a real (rule-based) model, memoized.

Shows: @memoize with a key that makes trivially different headlines one; several threads, one computation a headline; the result is the same.
Does not show: a neural model, for which each hit would save a thousand times more. The stream is made up: 20,000 items of 1,500 headlines, Zipf."""
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from local_server import seconds
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from tensorcache import TensorCache, memoize

SUBJECTS = ["The central bank", "A small start-up", "The football club", "Our city's council", "The oil company", "A research group"]
VERBS = ["celebrates a great success with", "warns of terrible losses from", "quietly reviews", "is delighted by", "sadly abandons"]
OBJECTS = ["its new plan", "the harbour project", "last year's results", "a wonderful idea", "an awful mistake"]
PLACES = ["in Paris", "in Lagos", "in Lima", "in Oslo", "in Pune", "at home", "abroad", "online", "in the north", "in the south"]
ITEMS = 20_000


def stream():
    random = np.random.default_rng(7)
    headlines = [f"{s} {v} {o} {p}!" for s in SUBJECTS for v in VERBS for o in OBJECTS for p in PLACES]
    random.shuffle(headlines)
    ranks = random.zipf(1.2, 2 * ITEMS)
    picked = [headlines[rank - 1] for rank in ranks if rank <= len(headlines)][:ITEMS]
    return [f"  {text}" if random.random() < 0.2 else text for text in picked]   # some come with stray blanks


def main():
    analyzer, items, calls = SentimentIntensityAnalyzer(), stream(), []

    def score(headline):
        calls.append(1)
        found = analyzer.polarity_scores(headline)
        return (found["compound"], "POSITIVE" if found["compound"] > 0.05 else "NEGATIVE" if found["compound"] < -0.05 else "NEUTRAL")

    plain, without = seconds(lambda: [score(item.strip()) for item in items])
    calls.clear()
    with TensorCache("64MiB") as cache:
        cached = memoize(cache, name="vader", key=str.strip)(lambda item: score(item.strip()))
        quarters = [items[i * ITEMS // 4:(i + 1) * ITEMS // 4] for i in range(4)]
        with ThreadPoolExecutor(4) as pool:
            results, with_cache = seconds(lambda: sum(pool.map(lambda quarter: [cached(item) for item in quarter], quarters), []))
        assert results == plain and len(calls) == len({item.strip() for item in items}) == len(cache)
        print(f"{len(items)} items, {len(calls)} different; {sum(label == 'POSITIVE' for _, label in results)} positive")
        print(f"without a cache {without:.2f} s, with it {with_cache:.2f} s ({without / with_cache:.1f} times as fast)")
        print(cache)


if __name__ == "__main__":
    main()
