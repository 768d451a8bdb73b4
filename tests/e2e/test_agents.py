"""Tools, schemas and the three protocols, with OpenAI's and Anthropic's own Python clients, cold and as hits."""
import json

import anthropic
import openai
import pydantic
import pytest

TOOL = {"name": "get_weather", "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"], "additionalProperties": False}}
CHAT_TOOL = {"type": "function", "function": TOOL}
ANTHROPIC_TOOL = {"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["parameters"]}
GREEDY = {"temperature": 0}   # this version of Anthropic's client has no argument for it
QUESTION = [{"role": "user", "content": "What is the weather in Paris? Call the function."}]


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=120) as client:
        client.model = client.models.list().data[0].id
        yield client


@pytest.fixture
def claude(server):
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=120) as client:
        yield client


def call_in_chat(client, **fields):
    return client.chat.completions.create(**({"model": client.model, "messages": QUESTION, "tools": [CHAT_TOOL], "tool_choice": "required",
                                              "temperature": 0, "max_tokens": 150} | fields))


def test_a_required_tool_is_called_cold_as_a_hit_and_streamed(client):
    first, again = call_in_chat(client), call_in_chat(client)
    call = first.choices[0].message.tool_calls[0]
    assert first.choices[0].finish_reason == "tool_calls" and first.choices[0].message.content is None
    assert call.function.name == "get_weather" and set(json.loads(call.function.arguments)) == {"city"}
    assert again.choices[0].message == first.choices[0].message, "with the same id"
    arguments, names = "", []
    with client.chat.completions.stream(model=client.model, messages=QUESTION, tools=[CHAT_TOOL], tool_choice="required", temperature=0,
                                        max_tokens=150) as stream:
        for event in stream:
            if event.type == "tool_calls.function.arguments.delta":
                arguments += event.arguments_delta
                names.append(event.name)
        final = stream.get_final_completion().choices[0].message
    assert arguments == call.function.arguments and set(names) == {"get_weather"}
    assert final.tool_calls[0].id == call.id


def test_a_named_tool_is_called(client):
    other = {"type": "function", "function": {"name": "other", "parameters": {"type": "object", "properties": {}}}}
    answer = call_in_chat(client, tools=[CHAT_TOOL, other], tool_choice={"type": "function", "function": {"name": "other"}})
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["other"]


def test_the_next_step_of_an_agent_is_a_hit_too(client):
    message = call_in_chat(client).choices[0].message
    turns = QUESTION + [message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}]
    step = lambda: client.chat.completions.with_raw_response.create(model=client.model, messages=turns, tools=[CHAT_TOOL], temperature=0, max_tokens=10)
    cold, hit = step(), step()
    assert "hit" in hit.headers["cache-status"]
    assert hit.parse().choices[0].message == cold.parse().choices[0].message


class Capital(pydantic.BaseModel):
    city: str = pydantic.Field(max_length=12)
    large: bool


def test_a_pydantic_model_is_parsed(client):
    for _ in range(2):
        answer = client.chat.completions.parse(model=client.model, messages=[{"role": "user", "content": "The capital of France?"}],
                                               response_format=Capital, temperature=0, max_tokens=100)
        assert isinstance(answer.choices[0].message.parsed, Capital)
        response = client.responses.parse(model=client.model, input="The capital of France?", text_format=Capital, temperature=0, max_output_tokens=100)
        assert isinstance(response.output_parsed, Capital)
        assert response.output_parsed == answer.choices[0].message.parsed, "one stored answer for both protocols"


def test_json_mode_and_every_schema_answer_is_valid(client):
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 999}, "tags": {"type": "array", "items": {"enum": ["a", "b"]},
              "maxItems": 3}}, "required": ["n", "tags"], "additionalProperties": False}
    for seed in range(20):
        answer = client.chat.completions.create(model=client.model, messages=[{"role": "user", "content": "A number and tags."}], seed=seed, max_tokens=200,
                                                response_format={"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}})
        value = json.loads(answer.choices[0].message.content)
        assert 0 <= value["n"] <= 999 and len(value["tags"]) <= 3 and set(value["tags"]) <= {"a", "b"}


def test_responses_whole_streamed_and_with_tools(client):
    ask = {"model": client.model, "input": "The capital of France?", "temperature": 0, "max_output_tokens": 200}
    whole = client.responses.create(**ask)
    with client.responses.stream(**ask) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert whole.output_text and whole.output_text == text == final.output_text
    assert whole.usage.output_tokens == final.usage.output_tokens
    answer = client.responses.create(model=client.model, input=QUESTION[0]["content"], tools=[{"type": "function", "strict": True} | TOOL],
                                     tool_choice="required", temperature=0, max_output_tokens=150)
    call = answer.output[0]
    assert call.type == "function_call" and json.loads(call.arguments) and call.call_id == call_in_chat(client).choices[0].message.tool_calls[0].id
    following = client.responses.create(model=client.model, temperature=0, max_output_tokens=10, tools=[{"type": "function", "strict": True} | TOOL], input=[
        {"role": "user", "content": QUESTION[0]["content"]}, call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}])
    assert following.output_text


def test_anthropics_client(claude, client):
    ask = {"model": "any", "max_tokens": 30, "extra_body": GREEDY, "messages": [{"role": "user", "content": "Name three colours."}]}
    whole = claude.messages.create(**ask)
    with claude.messages.stream(**ask) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text and text == whole.content[0].text == final.content[0].text
    assert whole.stop_reason == final.stop_reason and final.usage.output_tokens == whole.usage.output_tokens
    raw = client.chat.completions.with_raw_response.create(model="any", max_tokens=30, temperature=0, messages=ask["messages"])
    assert "hit" in raw.headers["cache-status"], "one stored answer for both protocols"
    assert raw.parse().choices[0].message.content == text
    count = claude.messages.count_tokens(model="any", messages=ask["messages"])
    assert count.input_tokens == raw.parse().usage.prompt_tokens


def test_anthropics_tools_and_errors(claude):
    ask = {"model": "any", "max_tokens": 150, "extra_body": GREEDY, "messages": QUESTION, "tools": [ANTHROPIC_TOOL], "tool_choice": {"type": "any"}}
    whole = claude.messages.create(**ask)
    with claude.messages.stream(**ask) as stream:
        final = stream.get_final_message()
    assert whole.stop_reason == "tool_use" and final.content == whole.content
    call = whole.content[0]
    assert call.type == "tool_use" and call.name == "get_weather" and "city" in call.input
    turns = QUESTION + [{"role": "assistant", "content": whole.content},
                        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]}]
    assert claude.messages.create(**(ask | {"messages": turns, "max_tokens": 10, "tool_choice": {"type": "auto"}})).content
    with pytest.raises(anthropic.BadRequestError, match="input_schema"):
        claude.messages.create(**(ask | {"tools": [{"name": "f"}]}))
    stopped = claude.messages.create(model="any", max_tokens=50, messages=[{"role": "user", "content": "Count: 1 2 3"}], stop_sequences=["3", "e"],
                                     extra_body=GREEDY)
    assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence in ("3", "e")
