#!/usr/bin/env python3
"""OpenAI's own client against the server: nothing changes but the base URL.

Shows: a stored answer, plain and streamed, a reused prefix, a hint, and where to read what was reused. Does not show: tools or JSON schemas, which
the server refuses."""
import tempfile

from local_server import seconds, serving
from openai import OpenAI

SYSTEM = {"role": "system", "content": "You are brief. " + "The weather today is fine and warm in every town of the country. " * 30}


def main():
    with tempfile.TemporaryDirectory() as folder, serving("--cache-dir", folder) as url:
        client = OpenAI(base_url=url, api_key="none")
        model = client.models.list().data[0].id

        def ask(question, create=client.chat.completions.create, **more):
            return create(model=model, messages=[SYSTEM, {"role": "user", "content": question}], max_tokens=12, temperature=0, **more)

        first, cold = seconds(lambda: ask("Name a colour."))
        second, warm = seconds(lambda: ask("Name a colour."))
        streamed, stream = seconds(lambda: "".join(part.choices[0].delta.content or "" for part in ask("Name a colour.", stream=True)))
        assert streamed == second.choices[0].message.content == first.choices[0].message.content
        # Another question after the same text, with the hint that this conversation ends.
        other, prefix = seconds(lambda: ask("Name a town.", extra_body={"tensorcache": {"end_of_conversation": True}}))
        raw = ask("Name a colour.", client.chat.completions.with_raw_response.create)
    reused = other.usage.prompt_tokens_details.cached_tokens
    assert reused > 300 and "hit" in raw.headers["Cache-Status"]
    print(f"first time           {cold:.3f} s")
    print(f"again                {warm:.3f} s  ({cold / warm:.0f} times as fast)")
    print(f"again, as a stream   {stream:.3f} s")
    print(f"another question     {prefix:.3f} s  ({reused} of {other.usage.prompt_tokens} prompt tokens came from the cache, {cold / prefix:.1f} times as fast)")
    print(f"what the server says of the last: {raw.headers['Cache-Status']}")


if __name__ == "__main__":
    main()
