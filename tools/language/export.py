"""Exports tiny language models of random weights, as folders of transformers.js, with references for the tests.

    python tools/language/export.py OUT [NAME ...]      NAME: llama-optimum, qwen2-genai, ...; default: all

Run it with the environment `language` (npm run python -- language). Every folder has config.json, tokenizer.json,
tokenizer_config.json, generation_config.json, onnx/model{,_fp16,_q4,_q4f16}.onnx, and reference.json: prompts with
the logits of PyTorch and the greedy continuation by transformers' generate. The weights are numbers that 4 bits and
float16 represent exactly, so that all files of a folder compute the same and share one reference.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import tempfile
import warnings

import numpy as np
import onnx
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

warnings.filterwarnings("ignore")
block = 32
hidden, heads, key_heads = 32, 2, 1
special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
chat_template = (
    "{%- for message in messages %}"
    "{%- if loop.first and message['role'] != 'system' %}"
    "{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}"
    "{%- endif %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
corpus = [
    "You are a helpful assistant.",
    "What is the capital of France? The capital of France is Paris.",
    "How do I reset my password? Open the settings and choose reset password.",
    "Hello, how are you today? I am fine, thank you.",
    "system user assistant the and of to in is that it for on with as are this be",
]


def tokenizer():
    """A byte-level BPE tokenizer with ChatML's special tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=296, special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())
    )
    made.train_from_iterator(corpus * 4, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=chat_template
    )


def configuration(shape, vocabulary):
    common = dict(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        max_position_embeddings=256,
        eos_token_id=2,
        bos_token_id=1,
        pad_token_id=0,
    )
    if shape == "llama":
        return transformers.LlamaConfig(**{**common, "num_hidden_layers": 1}, tie_word_embeddings=False)
    if shape == "smollm2":
        return transformers.LlamaConfig(**common, tie_word_embeddings=True, rope_theta=100000.0)
    if shape == "qwen2":
        return transformers.Qwen2Config(**common, tie_word_embeddings=True, rope_theta=1000000.0)
    if shape == "gemma":
        return transformers.GemmaConfig(**{**common, "num_key_value_heads": 1}, head_dim=16, tie_word_embeddings=True)
    raise ValueError(shape)


def on_grid(weight, generator, scale):
    """Random multiples of `scale` from -8 to 7, -8 in every block: rounding to 4 bits reproduces them."""
    numbers = torch.randint(-8, 8, weight.shape, generator=generator).float()
    numbers.view(*weight.shape[:-1], -1, block)[..., 0] = -8
    return numbers * scale


def network(shape, vocabulary, seed):
    config = configuration(shape, vocabulary)
    config._attn_implementation = "eager"
    made = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "norm" in name:
                weight.copy_((torch.rand(weight.shape, generator=generator) * 0.5 + 0.75).half().float())
                if shape == "gemma":
                    weight.sub_(1)
            elif weight.ndim == 2:
                # Layers dominate embeddings, so that a continuation does not repeat one token.
                weight.copy_(on_grid(weight, generator, 2.0**-3 if "layers" in name else 2.0**-5))
            else:
                weight.copy_((torch.rand(weight.shape, generator=generator) * 0.2 - 0.1).half().float())
    made.generation_config.do_sample = False
    return made


def export_optimum(source, folder):
    from optimum.exporters.onnx import main_export

    with tempfile.TemporaryDirectory() as out:
        main_export(source, output=out, task="text-generation-with-past", do_validation=False)
        return onnx.load(os.path.join(out, "model.onnx"))


def export_genai(source, precision, provider):
    from onnxruntime_genai.models.builder import create_model

    with tempfile.TemporaryDirectory() as out:
        options = {"int4_block_size": block, "int4_is_symmetric": True} if precision == "int4" else {}
        create_model("", source, out, precision, provider, os.path.join(out, "cache"), **options)
        return onnx.load(os.path.join(out, "model.onnx"))


def quantize(model):
    """4 bits in blocks of 32, symmetric, as the script of transformers.js."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantizer = MatMulNBitsQuantizer(copy, block_size=block, is_symmetric=True, accuracy_level=None)
    quantizer.process()
    return quantizer.model.model


def to_half(model):
    """float16 with inputs and outputs in float32, as the script of transformers.js."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return convert_float_to_float16(copy, keep_io_types=True, disable_shape_infer=True)


def quantize_dynamic(model):
    from onnxruntime.quantization import quantize_dynamic

    with tempfile.TemporaryDirectory() as out:
        onnx.save(model, os.path.join(out, "in.onnx"))
        quantize_dynamic(os.path.join(out, "in.onnx"), os.path.join(out, "out.onnx"))
        return onnx.load(os.path.join(out, "out.onnx"))


def merge(model):
    """A merged decoder as optimum once wrote: an If with and without past keys, chosen by use_cache_branch."""
    graph = model.graph
    pasts = [value for value in graph.input if value.name.startswith("past_key_values.")]
    size = hidden // heads

    def branch(prefix, with_past):
        renamed, nodes = {}, []
        if not with_past:
            shape = helper.make_node("Shape", ["input_ids"], [f"{prefix}/batch"], f"{prefix}/batch", start=0, end=1)
            rest = numpy_helper.from_array(np.array([key_heads, 0, size], np.int64))
            nodes += [shape, helper.make_node("Constant", [], [f"{prefix}/rest"], f"{prefix}/rest", value=rest)]
            nodes.append(helper.make_node("Concat", [f"{prefix}/batch", f"{prefix}/rest"], [f"{prefix}/dims"], axis=0))
            for past in pasts:
                renamed[past.name] = f"{prefix}/{past.name}"
                nodes.append(helper.make_node("ConstantOfShape", [f"{prefix}/dims"], [renamed[past.name]]))
        for node in graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = f"{prefix}/{node.name}"
            for output in node.output:
                renamed[output] = f"{prefix}/{output}"
            copy.input[:] = [renamed.get(name, name) for name in node.input]
            copy.output[:] = [renamed[name] for name in node.output]
            nodes.append(copy)
        outputs = []
        for output in graph.output:
            copy = onnx.ValueInfoProto()
            copy.CopyFrom(output)
            copy.name = renamed[output.name]
            outputs.append(copy)
        return helper.make_graph(nodes, prefix, [], outputs)

    merged = onnx.ModelProto()
    merged.CopyFrom(model)
    del merged.graph.node[:]
    del merged.graph.value_info[:]
    merged.graph.input.append(helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1]))
    merged.graph.node.append(
        helper.make_node(
            "If",
            ["use_cache_branch"],
            [output.name for output in graph.output],
            "optimum::if",
            then_branch=branch("with_past", True),
            else_branch=branch("no_past", False),
        )
    )
    return merged


def save(model, path, files):
    """Saves a model with its tensors in `files` files of external data (0: inside), named as transformers.js does."""
    for field in ("doc_string", "producer_name", "producer_version"):
        model.ClearField(field)
    del model.metadata_props[:]
    for node in model.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    del model.graph.value_info[:]
    if files:
        base = os.path.basename(path)
        names = [f"{base}_data" if i == 0 else f"{base}_data_{i}" for i in range(files)]
        chunks = [bytearray() for _ in names]
        large = [tensor for tensor in model.graph.initializer if tensor.ByteSize() > 256]
        for i, tensor in enumerate(large):
            data = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
            at = i * files // len(large)
            for field in ("raw_data", "float_data", "int32_data", "int64_data"):
                tensor.ClearField(field)
            tensor.data_location = TensorProto.EXTERNAL
            del tensor.external_data[:]
            for key, value in (("location", names[at]), ("offset", len(chunks[at])), ("length", len(data))):
                entry = tensor.external_data.add()
                entry.key, entry.value = key, str(value)
            chunks[at] += data
        for name, chunk in zip(names, chunks):
            with open(os.path.join(os.path.dirname(path), name), "wb") as file:
                file.write(chunk)
    with open(path, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))


prompts = [
    [{"role": "user", "content": "How do I reset my password?"}],
    [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Hello, how are you?"},
        {"role": "assistant", "content": "I am fine, thank you."},
        {"role": "user", "content": "What is the capital of France?"},
    ],
]


def reference(net, tok):
    """Prompts with PyTorch's mean loss, its logits of the last position, and the greedy continuation."""
    found = []
    for messages in prompts:
        text = tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tok(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = net(torch.tensor([ids])).logits[0]
            out = net.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)[0, len(ids) :].tolist()
        loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])).item()
        last = [round(x, 6) for x in logits[-1].tolist()]
        found.append(
            {"messages": messages, "text": text, "ids": ids, "loss": loss, "logits": last, "generated": out}
        )
    return found


names = [f"{shape}-{by}" for shape in ("llama", "smollm2", "qwen2", "gemma") for by in ("optimum", "genai")]
names.append("llama-merged")


def export(name, out):
    shape, by = name.split("-")
    folder = os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "onnx"))
    tok = tokenizer()
    net = network(shape, len(tok), seed=names.index(f"{shape}-optimum"))
    with tempfile.TemporaryDirectory() as source:
        net.save_pretrained(source)
        tok.save_pretrained(source)
        for file in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(os.path.join(source, file), os.path.join(folder, file))
        if by == "genai":
            shutil.copy(os.path.join(source, "chat_template.jinja"), folder)
            variants = {
                "": export_genai(source, "fp32", "cpu"),
                "_fp16": export_genai(source, "fp16", "cuda"),
                "_q4": export_genai(source, "int4", "cpu"),
                "_q4f16": export_genai(source, "int4", "cuda"),
            }
        else:
            path = os.path.join(folder, "tokenizer_config.json")
            with open(path) as file:
                settings = json.load(file)
            with open(path, "w") as file:
                json.dump({**settings, "chat_template": chat_template}, file, indent=2)
            plain = export_optimum(source, folder)
            if by == "merged":
                variants = {"": merge(plain)}
            else:
                q4 = quantize(plain)
                variants = {"": plain, "_fp16": to_half(plain), "_q4": q4, "_q4f16": to_half(q4)}
                variants["_quantized"] = quantize_dynamic(plain)
    for suffix, model in variants.items():
        files = {"": 2, "_fp16": 1}.get(suffix, 0)
        save(model, os.path.join(folder, "onnx", f"model{suffix}.onnx"), files)
    with open(os.path.join(folder, "reference.json"), "w") as file:
        json.dump(reference(net, tok), file)
        file.write("\n")


def run(description, names, make):
    """Makes the models that the command line names; all of them if it names none."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    options = parser.parse_args()
    for name in options.names or names:
        if name not in names:
            parser.error(f"no model {name}: {', '.join(names)}")
        with contextlib.redirect_stdout(io.StringIO()):
            make(name, options.out)
        print(name, flush=True)


if __name__ == "__main__":
    run(__doc__, names, export)
