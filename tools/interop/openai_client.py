"""The official `openai` client against a running `nurture serve`: whole and streamed, lists, figures, errors.

    pip install openai
    nurture serve --model smollm2-135m-instruct --name base --port 8080
    python tools/interop/openai_client.py http://127.0.0.1:8080 base
"""

import asyncio
import sys

import openai


def main(url, model):
    client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
    ask = dict(model=model, messages=[{"role": "user", "content": "What is rain?"}], temperature=0, max_tokens=32)

    whole = client.chat.completions.create(**ask)
    text = whole.choices[0].message.content
    assert text and whole.usage.completion_tokens > 0, whole

    pieces, usage = [], None
    for chunk in client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
        pieces += [c.delta.content or "" for c in chunk.choices]
        usage = chunk.usage or usage
    assert "".join(pieces) == text, (pieces, text)
    assert usage.completion_tokens == whole.usage.completion_tokens

    # this helper takes an answer that was cut for an error: end it before
    with client.chat.completions.stream(**ask, stop=["."]) as stream:
        assert stream.get_final_completion().choices[0].message.content == text.split(".")[0]

    figures = client.chat.completions.create(**ask, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert len(figures) == whole.usage.completion_tokens and len(figures[0].top_logprobs) == 3
    assert figures[0].logprob == figures[0].top_logprobs[0].logprob <= 0

    several = client.chat.completions.create(**{**ask, "temperature": 1.2}, n=3, seed=5, stop=["\n"])
    assert len({c.message.content for c in several.choices}) > 1 and several.choices[2].index == 2

    echo = client.completions.create(model=model, prompt=["A b c", [1, 2, 3]], max_tokens=1, echo=True, logprobs=1, temperature=0)
    assert echo.choices[0].text.startswith("A b c") and echo.choices[1].logprobs.token_logprobs[0] is None

    vectors = client.embeddings.create(model=model, input=["a cat", "a kitten"]).data
    assert len(vectors[0].embedding) == len(vectors[1].embedding) > 100
    assert abs(sum(x * x for x in vectors[0].embedding) - 1) < 1e-4

    assert model in [m.id for m in client.models.list()] and client.models.retrieve(model).id == model

    for error, change in [
        (openai.NotFoundError, {"model": "nobody"}),
        (openai.BadRequestError, {"temperature": 9}),
        (openai.BadRequestError, {"messages": [{"role": "user", "content": "x " * 100_000}]}),
        (openai.BadRequestError, {"extra_body": {"temprature": 1}}),
    ]:
        try:
            client.chat.completions.create(**{**ask, **change})
        except error as e:
            assert e.code and e.body["message"], e
        else:
            raise AssertionError(f"no {error.__name__} for {change}")

    async def many():
        client = openai.AsyncOpenAI(base_url=url + "/v1", api_key="none", max_retries=0)

        async def one():
            said = ""
            async for chunk in await client.chat.completions.create(**ask, stream=True):
                said += "".join(c.delta.content or "" for c in chunk.choices)
            return said

        async def leaves():
            async with await client.chat.completions.create(**{**ask, "max_tokens": 500}, stream=True) as stream:
                await anext(aiter(stream))

        answers = await asyncio.gather(*[one() if i % 2 else leaves() for i in range(8)])
        assert all(a == text for a in answers[1::2]), answers

    asyncio.run(many())
    print(f"openai {openai.__version__}: all passed; greedy answer: {text!r}")


main(sys.argv[1].rstrip("/"), sys.argv[2])
