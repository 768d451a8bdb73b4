"""OpenAI's own Python client, unmodified."""
import asyncio

import openai
import pytest
from conftest import serving

QUESTION = [{"role": "user", "content": "Name three colours."}]


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60) as client:
        client.model = client.models.list().data[0].id
        yield client


def ask(client, **fields):
    return client.chat.completions.create(**({"model": client.model, "messages": QUESTION, "temperature": 0, "max_tokens": 12} | fields))


def joined(stream):
    """A stream's text, finish reason, usage and logprobs."""
    text, finish, usage, logprobs = "", None, None, []
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
            logprobs += choice.logprobs.content if choice.logprobs else []
    return text, finish, usage, logprobs


def test_chat(client):
    answer = ask(client)
    assert answer.choices[0].message.role == "assistant" and answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == [client.model]


def test_completions(client):
    answer = client.completions.create(model=client.model, prompt="The capital of France is", temperature=0, max_tokens=4)
    assert answer.choices[0].text.startswith(" Paris")


@pytest.mark.parametrize("first_streams", [False, True])
def test_a_stored_answer_is_the_same_streamed_or_not(client, first_streams):
    fields = {"seed": 1 + first_streams, "logprobs": True, "top_logprobs": 3, "messages": [{"role": "user", "content": "Count to ten."}]}
    whole = lambda: ask(client, **fields)
    stream = lambda: joined(ask(client, stream=True, stream_options={"include_usage": True}, **fields))
    if first_streams:
        streamed, answer = stream(), whole()
    else:
        answer, streamed = whole(), stream()
    choice = answer.choices[0]
    text, finish, usage, logprobs = streamed
    assert (text, finish) == (choice.message.content, choice.finish_reason)
    assert usage.prompt_tokens == answer.usage.prompt_tokens and usage.completion_tokens == answer.usage.completion_tokens
    assert logprobs == choice.logprobs.content and len(logprobs) == 12 and len(logprobs[0].top_logprobs) == 3


def test_stop_ends_before_the_string(client):
    # Long enough to hold the word, whatever it is, that the answer is cut at.
    whole = ask(client, max_tokens=16).choices[0].message.content
    cut_at = whole.strip().split()[-2]
    answer = ask(client, max_tokens=16, stop=[cut_at]).choices[0]
    assert answer.finish_reason == "stop" and answer.message.content == whole[:whole.index(cut_at)]


def test_logit_bias_forbids_a_token(client):
    first = ask(client, max_tokens=1, logprobs=True).choices[0]
    token = client.completions.create(model=client.model, prompt="The capital of France is", temperature=0, max_tokens=1).choices[0].text
    assert token == " Paris" and first.message.content
    # 42 occurs in neither: forcing it shows that the bias reaches the sampler.
    forced = client.completions.create(model=client.model, prompt="The capital of France is", temperature=0, max_tokens=2, logit_bias={"42": 100})
    assert forced.choices[0].text != token


def test_a_seed_makes_a_sampled_answer_repeatable(client):
    fields = {"temperature": 1.0, "seed": 7, "extra_headers": {"Cache-Control": "no-cache"}}
    assert ask(client, **fields).choices[0].message.content == ask(client, **fields).choices[0].message.content


def test_errors_are_the_clients_own_kinds(client):
    with pytest.raises(openai.BadRequestError) as wrong:
        ask(client, temperature="hot")
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-none")
    with pytest.raises(openai.BadRequestError) as tools:
        ask(client, tools=[{"type": "function", "function": {"name": ""}}])
    assert tools.value.param == "tools[0].function.name"


def test_async_client_many_at_once(server):
    async def main():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60) as client:
            model = (await client.models.list()).data[0].id

            async def one(i):
                stream = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": f"Say {i}."}], temperature=0,
                                                              max_tokens=6, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
            return await asyncio.gather(*(one(i) for i in range(6)))
    answers = asyncio.run(main())
    assert len(answers) == 6 and all(answers)


def test_a_wrong_api_key_is_an_authentication_error(tmp_path):
    with serving(tmp_path, "--api-key", "right") as server:
        ask_with = lambda key: openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0, timeout=60).models.list()
        assert ask_with("right").data
        with pytest.raises(openai.AuthenticationError):
            ask_with("wrong")
        assert "right" not in server.log()
