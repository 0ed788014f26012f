"""Exports models of the exact shape of published chat models, with random weights in 4 bits, to measure memory.

    python tools/language/full_size.py OUT [NAME ...]      NAME: smollm2-135m-genai, qwen2.5-0.5b-optimum, ...

Run it with the environment `language` (npm run python -- language). Every folder has onnx/model_q4.onnx with its data,
as onnxruntime-genai's builder or transformers.js writes it, config.json, and the small tokenizer of export.py: tokens
beyond it exist in the model only. Qwen2.5-0.5B takes about 10 GB of memory here.
"""

import os
import shutil
import tempfile

import onnx
import torch
import transformers

import export

shapes = {
    "smollm2-135m": transformers.LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rope_theta=100000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        eos_token_id=2,
        bos_token_id=1,
        pad_token_id=0,
    ),
    "qwen2.5-0.5b": transformers.Qwen2Config(
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        rope_theta=1000000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        eos_token_id=2,
        bos_token_id=1,
        pad_token_id=0,
    ),
}
names = [f"{shape}-{by}" for shape in shapes for by in ("genai", "optimum")]


def make(name, out):
    shape, by = name.rsplit("-", 1)
    folder = os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "onnx"))
    torch.manual_seed(0)
    tok = export.tokenizer()
    with tempfile.TemporaryDirectory() as source:
        transformers.AutoModelForCausalLM.from_config(shapes[shape]).save_pretrained(source)
        tok.save_pretrained(source)
        for file in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(os.path.join(source, file), os.path.join(folder, file))
        shutil.copy(os.path.join(source, "chat_template.jinja"), folder)
        if by == "genai":
            model = export.export_genai(source, "int4", "cpu")
        else:
            model = export.quantize(export.export_optimum(source, folder))
    path = os.path.join(folder, "onnx", "model_q4.onnx")
    onnx.save(model, path, save_as_external_data=True, location="model_q4.onnx_data")


if __name__ == "__main__":
    export.run(__doc__, names, make)
