"""Writes the golden files of test/adapter/golden: small random models as ONNX with outputs that PyTorch computed,
PEFT folders of adapters over them, and .onnx_adapter files by Olive and by onnxruntime."""

import json
import pathlib
import shutil
import warnings
from argparse import Namespace

import numpy as np
import onnx
import onnxruntime
import peft
import torch
import transformers
from olive.cli.convert_adapters import ConvertAdaptersCommand
from onnxruntime.capi._pybind_state import quantize_matmul_4bits, quantize_matmul_8bits
from safetensors.torch import load_file, save_file

from models import Logits, Mixed, llama

warnings.filterwarnings('ignore')
root = pathlib.Path(__file__).resolve().parents[2] / 'test' / 'adapter' / 'golden'


def export(model, inputs, names, path, axes={0: 'batch', 1: 'length'}):
    """Exports a model with symbolic batch and length, weights inside the file."""
    axes = {name: axes for name in names}
    torch.onnx.export(
        model, tuple(inputs), str(path), input_names=names, output_names=['y'], dynamic_axes=axes, opset_version=17, dynamo=False
    )
    exported = onnx.load(path)
    for node in exported.graph.node:
        node.doc_string = ''
    onnx.checker.check_model(exported)
    onnx.save(exported, path)


def adapted(base, config, seed):
    """A PEFT model whose adapter has random A and B, as after training."""
    model = peft.get_peft_model(base, config).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if 'lora_' in name and 'magnitude' not in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        elif 'modules_to_save' in name:
            parameter.data = parameter.data + torch.randn(parameter.shape, generator=generator) * 0.3
        elif 'magnitude' in name:
            parameter.data = parameter.data * (1 + 0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def save(model, name, io, half=None):
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / 'README.md').unlink(missing_ok=True)
    # PEFT writes a set in any order.
    config = json.loads((folder / 'adapter_config.json').read_text())
    for key in ('target_modules', 'feedforward_modules'):
        if key in config:
            config[key].sort()
    (folder / 'adapter_config.json').write_text(json.dumps(config, indent=2, sort_keys=True) + '\n')
    if half is not None:
        file = folder / 'adapter_model.safetensors'
        save_file({key: value.to(half) for key, value in load_file(file).items()}, file, metadata={'format': 'pt'})
        model.load_state_dict({key: value.to(half).float() if 'lora_' in key else value for key, value in model.state_dict().items()})
    with torch.no_grad():
        out = model(*io) if not hasattr(model(*io), 'logits') else model(*io).logits
    return out


def main():
    torch.manual_seed(0)
    outputs = {}
    ids = torch.randint(0, 13, (2, 6), generator=torch.Generator().manual_seed(1))
    base = Mixed().eval()
    export(base, [ids], ['ids'], root / 'mixed.onnx')
    save_file({k: v.contiguous() for k, v in base.state_dict().items()}, root / 'mixed.safetensors', metadata={'format': 'pt'})
    with torch.no_grad():
        outputs['mixed'] = base(ids)

    def mixed():
        model = Mixed().eval()
        model.load_state_dict(load_file(root / 'mixed.safetensors'))
        return model

    config = lambda **more: peft.LoraConfig(**{'r': 3, 'lora_alpha': 6, 'target_modules': ['fc1', 'fc2'], **more})
    variants = {
        'linear': config(),
        'kinds': config(target_modules=['embed', 'conv', 'fc1', 'fc2'], rank_pattern={'fc1': 2}, alpha_pattern={'conv': 5}),
        'rslora': config(use_rslora=True, lora_alpha=4, rank_pattern={'block.fc1': 5}),
        'dora': config(use_dora=True),
        'dora-kinds': config(use_dora=True, target_modules=['embed', 'conv', 'fc1']),
    }
    for i, (name, variant) in enumerate(variants.items()):
        outputs[name] = save(adapted(mixed(), variant, 10 + i), name, [ids])
    outputs['half'] = save(adapted(mixed(), config(), 20), 'half', [ids], torch.float16)
    outputs['bfloat'] = save(adapted(mixed(), config(), 21), 'bfloat', [ids], torch.bfloat16)
    outputs['modules-to-save'] = save(adapted(mixed(), config(modules_to_save=['fc2'], target_modules=['fc1']), 22), 'modules-to-save', [ids])
    save(adapted(mixed(), config(lora_bias=True), 23), 'lora-bias', [ids])
    save(adapted(mixed(), config(bias='lora_only'), 24), 'bias', [ids])

    tokens = torch.randint(0, 32, (2, 5), generator=torch.Generator().manual_seed(2))
    model = llama()
    export(Logits(model), [tokens], ['input_ids'], root / 'llama.onnx')
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, root / 'llama.safetensors', metadata={'format': 'pt'})
    with torch.no_grad():
        outputs['llama-base'] = Logits(model)(tokens)
    targets = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']
    tuned = adapted(model, peft.LoraConfig(task_type='CAUSAL_LM', r=4, lora_alpha=8, target_modules=targets), 30)
    outputs['llama'] = save(tuned, 'llama', [tokens])

    for dtype in ['float32', 'float16']:
        convert(dtype)
    quantize()
    save_file({'ids': ids, 'tokens': tokens, **{k: v.contiguous() for k, v in outputs.items()}}, root / 'outputs.safetensors')
    versions = {m.__name__: m.__version__ for m in (torch, transformers, peft, onnx, onnxruntime)}
    (root / 'versions.json').write_text(json.dumps(versions, indent=2) + '\n')


def quantize():
    """Weights [K, N] in blocks by the kernels of onnxruntime's MatMulNBitsQuantizer."""
    generator = np.random.default_rng(0)
    tensors = {}
    for k in (64, 70):
        weight = generator.normal(size=(k, 7)).astype('float32')
        weight[:32, 3] = 0
        weight[:32, 4] = np.abs(weight[:32, 4])
        weight[0, 5], weight[1, 5] = 5, -5
        tensors[f'{k}.weight'] = weight
        blocks = -(-k // 32)
        padded = np.pad(weight, ((0, blocks * 32 - k), (0, 0)))
        for bits, kernel in ((4, quantize_matmul_4bits), (8, quantize_matmul_8bits)):
            packed, scales = np.zeros((7, blocks, 4 * bits), 'uint8'), np.zeros((7, blocks), 'float32')
            kernel(packed, padded, scales, np.zeros((7, blocks), 'uint8'), 32, 7, k, True)
            tensors |= {f'{k}.q{bits}': packed, f'{k}.scales{bits}': scales}
    save_file({key: torch.from_numpy(value) for key, value in tensors.items()}, root / 'quantized.safetensors')


def convert(dtype):
    """Olive's `convert-adapters` over the Llama adapter."""
    command = ConvertAdaptersCommand.__new__(ConvertAdaptersCommand)
    output = str(root / f'olive-{dtype}.onnx_adapter')
    command.args = Namespace(
        adapter_path=str(root / 'llama'), adapter_format='onnx_adapter', output_path=output, dtype=dtype, quantize_int4=False
    )
    ConvertAdaptersCommand.run.__wrapped__(command)


if __name__ == '__main__':
    main()
