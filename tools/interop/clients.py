"""Real clients against a server that runs: openai and anthropic (Python), litellm. Each that is not installed is named and left out.

  pip install openai anthropic litellm
  nurture serve --model smollm2-135m-instruct --name base --port 8080 &
  python3 tools/interop/clients.py http://127.0.0.1:8080 base [KEY]
"""

import json
import sys

URL, MODEL = sys.argv[1].rstrip("/"), sys.argv[2]
KEY = sys.argv[3] if len(sys.argv) > 3 else "none"
QUESTION = [{"role": "user", "content": "Name three colours."}]
PARAMETERS = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Lima"]}}, "required": ["city"], "additionalProperties": False}
# newer clients of Anthropic have no such argument of their own
GREEDY = {"temperature": 0}
done = []


def openai_python():
    import openai

    client = openai.OpenAI(base_url=URL + "/v1", api_key=KEY, max_retries=0)
    assert MODEL in [m.id for m in client.models.list()]
    whole = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=16, temperature=0)
    pieces = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=16, temperature=0, stream=True, stream_options={"include_usage": True})
    text, usage = "", None
    for chunk in pieces:
        text += "".join(c.delta.content or "" for c in chunk.choices)
        usage = chunk.usage or usage
    assert text == whole.choices[0].message.content and usage.completion_tokens == whole.usage.completion_tokens
    tool = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS, "strict": True}}
    asked = [{"role": "user", "content": "Weather in Oslo?"}]
    called = client.chat.completions.create(
        model=MODEL, messages=asked, tools=[tool], tool_choice="required", parallel_tool_calls=False, max_tokens=64)
    message = called.choices[0].message
    assert json.loads(message.tool_calls[0].function.arguments)["city"] in ("Oslo", "Lima")
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}
    client.chat.completions.create(model=MODEL, messages=asked + [message.to_dict(), result], tools=[tool], max_tokens=8)
    with client.chat.completions.stream(
            model=MODEL, messages=asked, tools=[tool], tool_choice="required", parallel_tool_calls=False, max_tokens=64) as stream:
        assert stream.get_final_completion().choices[0].message.tool_calls[0].function.name == "weather"
    first = client.responses.create(model=MODEL, input="Name three colours.", max_output_tokens=32, temperature=0)
    assert first.output_text and first.usage.output_tokens
    second = client.responses.create(model=MODEL, input="Again.", previous_response_id=first.id, max_output_tokens=16)
    assert client.responses.retrieve(second.id).output_text == second.output_text
    with client.responses.stream(model=MODEL, input="Name three colours.", max_output_tokens=32, temperature=0) as stream:
        events = list(stream)
    # an answer that was cut ends with `response.incomplete`, for which the client has no final response
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == first.output_text
    assert events[-1].type in ("response.completed", "response.incomplete")
    flat = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": True}
    called = client.responses.create(
        model=MODEL, input="Weather in Oslo?", tools=[flat], tool_choice="required", parallel_tool_calls=False, max_output_tokens=64)
    assert called.output[0].type == "function_call" and json.loads(called.output[0].arguments)
    vector = client.embeddings.create(model=MODEL, input=["a", "b"])
    assert len(vector.data) == 2
    for wrong, error in [({"model": "nobody"}, openai.NotFoundError), ({"temperature": 9}, openai.BadRequestError)]:
        try:
            client.chat.completions.create(**({"model": MODEL, "messages": QUESTION} | wrong))
            raise AssertionError(f"{wrong} was taken")
        except error as e:
            assert e.body["message"]
    return openai.__version__


def anthropic_python():
    import anthropic

    client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
    whole = client.messages.create(model=MODEL, messages=QUESTION, max_tokens=16, system="Be brief.", extra_body=GREEDY)
    with client.messages.stream(model=MODEL, messages=QUESTION, max_tokens=16, system="Be brief.", extra_body=GREEDY) as stream:
        assert "".join(stream.text_stream) == whole.content[0].text
    assert client.messages.count_tokens(model=MODEL, messages=QUESTION, system="Be brief.").input_tokens > 0
    tool = {"name": "weather", "description": "of a city", "input_schema": PARAMETERS}
    asked = [{"role": "user", "content": "Weather in Oslo?"}]
    choice = {"type": "any", "disable_parallel_tool_use": True}
    called = client.messages.create(model=MODEL, messages=asked, max_tokens=64, tools=[tool], tool_choice=choice)
    use = called.content[-1]
    assert called.stop_reason == "tool_use" and use.input["city"] in ("Oslo", "Lima")
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "rain"}]}
    client.messages.create(
        model=MODEL, max_tokens=8, tools=[tool], messages=asked + [{"role": "assistant", "content": called.content}, result])
    with client.messages.stream(model=MODEL, messages=asked, max_tokens=64, tools=[tool], tool_choice=choice) as stream:
        assert stream.get_final_message().content[-1].input["city"] in ("Oslo", "Lima")
    try:
        client.messages.create(model="nobody", messages=QUESTION, max_tokens=4)
        raise AssertionError("nobody answered")
    except anthropic.NotFoundError as e:
        assert e.body["error"]["type"] == "not_found_error"
    return anthropic.__version__


def litellm_python():
    import importlib.metadata

    import litellm

    litellm.suppress_debug_info = True
    how = {"model": "openai/" + MODEL, "api_base": URL + "/v1", "api_key": KEY, "messages": QUESTION, "max_tokens": 16, "temperature": 0}
    whole = litellm.completion(**how).choices[0].message.content
    assert whole and whole == "".join(c.choices[0].delta.content or "" for c in litellm.completion(**how, stream=True))
    how |= {"model": "anthropic/" + MODEL, "api_base": URL}
    assert litellm.completion(**how).choices[0].message.content == whole
    return importlib.metadata.version("litellm")


for client in [openai_python, anthropic_python, litellm_python]:
    try:
        version = client()
    except ModuleNotFoundError as e:
        print(f"left out: {client.__name__}: {e}")
        continue
    done.append(client.__name__)
    print(f"ok: {client.__name__} {version}")
sys.exit(0 if done else 1)
