#!/usr/bin/env python3
"""Customer service through the server: frequent questions are served from the response cache, and a conversation resumes after a restart by
prefilling only its new words.

Shows: stored responses and reused prefixes, also after a restart, with a plain HTTP client. Does not show: good advice; the model has 135M
parameters."""
import json
import tempfile
import urllib.request

from local_server import seconds, serving

HANDBOOK = " ".join(f"Rule {n}: an order of type {n} may be sent back within {n + 13} days if its seal number {n * 37} is unbroken." for n in range(1, 25))
SYSTEM = {"role": "system", "content": f"You answer customers of a shop. The handbook: {HANDBOOK}"}
FAQ = ["May I send an order of type 3 back?", "How long is an order of type 9 returnable?"]


def ask(url, messages):
    """(answer, Cache-Status, prompt tokens that were not computed)"""
    body = {"messages": [SYSTEM, *messages], "max_tokens": 12, "temperature": 0}
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as reply:
        parsed = json.load(reply)
        return (parsed["choices"][0]["message"]["content"], reply.headers["Cache-Status"], parsed["usage"]["prompt_tokens_details"]["cached_tokens"])


def user(text):
    return {"role": "user", "content": text}


def main():
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--cache-dir", folder, "--disk-sync", "record")
        with serving(*flags) as url:
            ((first, _, _), cold) = seconds(lambda: ask(url, [user(FAQ[0])]))
            ((again, status, _), warm) = seconds(lambda: ask(url, [user(FAQ[0])]))
            assert again == first and "hit" in status
            ((_, _, reused), other) = seconds(lambda: ask(url, [user(FAQ[1])]))
            conversation = [user(FAQ[0]), {"role": "assistant", "content": first}, user("And one of type 4?")]
            answer, _, _ = ask(url, conversation)
        conversation += [{"role": "assistant", "content": answer}, user("Thank you. What was the seal number?")]
        with serving(*flags) as url:   # the server was stopped and started
            ((_, status, known), resumed) = seconds(lambda: ask(url, conversation))
            ((faq, faq_status, _), after) = seconds(lambda: ask(url, [user(FAQ[0])]))
    assert faq == first and "hit" in faq_status and known > 600 and reused > 600
    print(f"a question, nothing cached                   {cold:7.3f} s")
    print(f"the same question from the next customer     {warm:7.3f} s  ({cold / warm:.0f} times as fast)")
    print(f"another question, same handbook              {other:7.3f} s  ({reused} prompt tokens reused, {cold / other:.1f} times as fast)")
    print(f"a conversation's next turn after a restart   {resumed:7.3f} s  ({known} prompt tokens reused, {cold / resumed:.1f} times as fast)")
    print(f"the first question after the restart         {after:7.3f} s")


if __name__ == "__main__":
    main()
