"""Chat renders of apply_chat_template for crates/text: the templates of several families over several conversations.

    python tools/goldens/text_chat.py --models DIR [--out crates/text/tests/goldens]

The family templates here are written for this test in the style of the families' own, with the constructs that theirs
use; SmolLM2's own comes from its GGUF file. Writes chat.json: template, conversation, options, text, and for SmolLM2's
and Gemma's vocabularies the token ids.
"""

import argparse
import datetime
import json
from pathlib import Path

import transformers.utils.chat_template_utils as chat_utils
from transformers import PreTrainedTokenizerFast

from text import gemma, keys, smollm2

QWEN25 = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You answer with care.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou answer with care.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

QWEN3 = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system turn is always written, with the date. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

GEMMA3 = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("user and assistant must take turns") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("content is of no known type") }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\\n'}}
{%- endif -%}
"""

LLAMA2 = """{% if messages[0]['role'] == 'system' %}
{% set system_message = '<<SYS>>\\n' + messages[0]['content'].strip() + '\\n<</SYS>>\\n\\n' %}
{% set loop_messages = messages[1:] %}
{% else %}
{% set system_message = '' %}
{% set loop_messages = messages %}
{% endif %}
{% for message in loop_messages %}
  {% if message['role'] == 'user' %}
{{ bos_token + '[INST] ' + (system_message if loop.index0 == 0 else '') + message['content'].strip() + ' [/INST]' }}
  {% elif message['role'] == 'assistant' %}
    {% generation %}
{{ ' ' + message['content'].strip() + ' ' + eos_token }}
    {% endgeneration %}
  {% endif %}
{% endfor %}"""

ODDITIES = """{% set ns = namespace(n=0) %}
{%- macro shout(text, sign='!') -%}{{ text | upper ~ sign }}{%- endmacro %}
{% for m in messages if m.role != 'system' %}
    {% if loop.index0 is odd %}{% continue %}{% endif %}
{{ loop.index }}/{{ loop.length }} {{ m.role | title }}: {{ m['content'].replace('a', 'A') }} {{ shout(m.role) }}
    {%- set ns.n = ns.n + m.content | length %}
    {% if ns.n > 200 %}{% break %}{% endif %}
{% endfor %}
{{ ns.n }} {{ ns.n > 3 }} {{ none }} {{ [1, 2.5, 'é', true, none] | tojson }} {{ messages | map(attribute='role') | join(', ') }}
{{ {'b': 1, 'a': {'x': [], 'y': {}}} | tojson(indent=2) }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ messages[-1].get('name', 'nobody') }} {{ 'a,b'.split(',')[1] }} {{ "%s-%d" | format("x", 3) }} {{ messages[0].items() | list | length }}
{{ 7 // 2 }} {{ 2 ** 3 }} {{ 'x' in 'xyz' }} {{ undefined_thing | default('d') }} {{- '' if false }} {{ 'abc'[1:] }}
"""

CHATS = [
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": "  Be brief.\n"}, {"role": "user", "content": "你好，怎么退款？"}],
    [{"role": "user", "content": " What is 2+2? \n"}, {"role": "assistant", "content": "4"}],
    [{"role": "system", "content": "S"}, {"role": "user", "content": "u1"}, {"role": "assistant", "content": "a1\n"},
     {"role": "user", "content": "u2 \"quoted\" <b>&amp;</b> {{ x }}"}, {"role": "assistant", "content": "  ça va 👍🏽"}],
    [{"role": "user", "content": "think"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nanswer"},
     {"role": "user", "content": "again"}, {"role": "assistant", "content": "<think>\nhm2\n</think>\n\nanswer 2"}],
    [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}],
    [{"role": "user", "content": "code:\n```python\ndef f(x):\n\treturn x\n```\n"},
     {"role": "assistant", "content": "It returns x.\n\nIndeed."}, {"role": "user", "content": "> thanks <"}],
]
TOOLS = [{"type": "function", "function": {"name": "get", "description": "gets \"é\" <x> & 'y'", "parameters": {
    "type": "object", "properties": {"n": {"type": "number", "default": 1.0}}, "required": ["n"]}}}]
NOW = datetime.datetime(2026, 11, 3, 15, 4, 5)


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("crates/text/tests/goldens"))
    args = parser.parse_args()
    chat_utils.datetime = FixedClock

    smol_path = args.models / "SmolLM2-135M-Instruct.Q4_1.gguf"
    plain = (args.out / "../../src/template/plain.jinja").read_text()
    templates = {"smollm2": keys(smol_path)[2]["tokenizer.chat_template"].contents(), "plain": plain, "qwen2.5": QWEN25,
                 "qwen3": QWEN3, "llama3": LLAMA3, "gemma3": GEMMA3, "llama2": LLAMA2, "oddities": ODDITIES}
    smol = PreTrainedTokenizerFast(tokenizer_object=smollm2(smol_path), bos_token="<|im_start|>",
                                   eos_token="<|im_end|>", unk_token="<|endoftext|>", pad_token="<|im_end|>")
    gem = PreTrainedTokenizerFast(tokenizer_object=gemma(args.models / "gemma-3-270m-q4_k_m.gguf"), bos_token="<bos>",
                                  eos_token="<eos>", unk_token="<unk>", pad_token="<pad>")
    variants = [{}, {"tools": TOOLS}, {"enable_thinking": False}]
    cases = []
    for name, source in templates.items():
        for chat_index, chat in enumerate(CHATS):
            for variables in variants:
                if variables and chat_index not in (1, 3):
                    continue
                for prompt in (False, True):
                    call = dict(chat_template=source, add_generation_prompt=prompt, **variables)
                    case = {"template": name, "chat": chat_index, "variables": variables, "prompt": prompt}
                    for vocabulary, tok in (("smollm2", smol), ("gemma3", gem)):
                        try:
                            text = tok.apply_chat_template(chat, tokenize=False, **call)
                            ids = tok.apply_chat_template(chat, tokenize=True, return_dict=False, **call)
                            case[vocabulary] = {"text": text, "ids": ids}
                        except Exception as e:
                            case[vocabulary] = {"error": str(e)}
                    cases.append(case)
    golden = {"now": [2026, 11, 3, 15, 4, 5], "templates": templates, "chats": CHATS, "cases": cases}
    (args.out / "chat.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
