"""Writes test/adapter/golden/training.safetensors: the loss and every gradient of one step, and the losses of twenty
steps of AdamW, of adapters as PEFT trains them: those of golden.py, and random ones over the language models of
tools/language/export.py, whose weights 4 bits represent exactly. Run golden.py first."""

import pathlib
import sys
import warnings

import peft
import torch
from safetensors.torch import load_file, save_file

from models import Logits, Mixed, llama

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / 'language'))
import export

warnings.filterwarnings('ignore')
root = pathlib.Path(__file__).resolve().parents[2] / 'test' / 'adapter' / 'golden'


def mixed():
    model = Mixed().eval()
    model.load_state_dict(load_file(root / 'mixed.safetensors'))
    return model


def train(name, forward, model, labels, tensors):
    """Twenty steps; none of the models has dropout, so training mode changes nothing."""
    parameters = {key: value for key, value in model.named_parameters() if value.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-2, weight_decay=0.1)
    losses = []
    for step in range(20):
        loss = torch.nn.functional.cross_entropy(forward().flatten(0, -2), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            for key, value in parameters.items():
                tensors[f'{name}/grad/{plain(key)}'] = value.grad.clone()
        losses.append(loss.item())
        optimizer.step()
    tensors[f'{name}/losses'] = torch.tensor(losses)


def plain(key):
    """The key of a parameter in PEFT's files."""
    return key.replace('lora_magnitude_vector.default.weight', 'lora_magnitude_vector').replace('.default', '')


def main():
    io = load_file(root / 'outputs.safetensors')
    generator = torch.Generator().manual_seed(4)
    labels = {
        'mixed': torch.randint(0, 5, (2,), generator=generator),
        'llama': torch.randint(0, 32, (2, 5), generator=generator),
    }
    tensors = {f'{base}/labels': value for base, value in labels.items()}
    for name in ('linear', 'kinds', 'rslora', 'dora', 'dora-kinds', 'llama'):
        base = 'llama' if name == 'llama' else 'mixed'
        model = peft.PeftModel.from_pretrained(llama() if base == 'llama' else mixed(), root / name, is_trainable=True)
        forward = (lambda: Logits(model.base_model.model)(io['tokens'])) if base == 'llama' else (lambda: model(io['ids']))
        train(name, forward, model, labels[base], tensors)

    targets = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']
    for shape in ('llama', 'smollm2', 'qwen2', 'gemma'):
        name = f'{shape}-random'
        base = export.network(shape, 296, seed=export.names.index(f'{shape}-optimum'))
        model = peft.get_peft_model(base, peft.LoraConfig(task_type='CAUSAL_LM', r=1, lora_alpha=2, target_modules=targets))
        for key, parameter in model.named_parameters():
            if 'lora_' in key:
                # Numbers that float16 represents: the files in float16 have the same adapter.
                parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.1).half().float()
                tensors[f'{name}/adapter/{plain(key)}'] = parameter.data.clone()
        ids = tensors[f'{name}/ids'] = torch.randint(3, 296, (2, 7), generator=generator)
        chosen = tensors[f'{name}/labels'] = torch.randint(3, 296, (2, 7), generator=generator)
        train(name, lambda: model(ids).logits, model, chosen, tensors)
    save_file(tensors, root / 'training.safetensors')


if __name__ == '__main__':
    main()
