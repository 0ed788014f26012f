"""Writes test/language/golden/chat.json: conversations rendered and encoded by transformers, with its masks of answers.

    python tools/language/chat.py
"""

import json
import os

import transformers

golden = os.path.join(os.path.dirname(__file__), "../../test/language/golden")
tokenizer = transformers.AutoTokenizer.from_pretrained(os.path.join(golden, "llama-optimum"))

templates = {
    "chatml": tokenizer.chat_template,
    "chatml with generation tags": """{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '<|im_start|>assistant\\n' }}
        {%- generation %}
            {{- message.content + '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}""",
    "zephyr with generation tags": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n' }}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}

{% endif %}
{% endfor %}""",
}
conversations = [
    [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "How are you?"}],
    [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "The capital of France is Paris."},
        {"role": "user", "content": "How do I reset my password?\n"},
        {"role": "assistant", "content": "\nOpen the settings\n\nand choose: reset 😀"},
    ],
]

found = []
for name, template in templates.items():
    for messages in conversations:
        text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
        encoded = tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            return_dict=True,
            return_assistant_tokens_mask="endgeneration" in template,
        )
        mask = encoded.get("assistant_masks")
        found.append({"name": name, "template": template, "messages": messages, "text": text})
        found[-1].update({"ids": encoded["input_ids"], **({"mask": mask} if mask else {})})
with open(os.path.join(golden, "chat.json"), "w") as file:
    json.dump(found, file)
    file.write("\n")
