"""Writes the golden files of other methods than plain LoRA: grouped.onnx, and what PEFT computes with a convolution of
groups, with and without DoRA, with PiSSA (initial values, twenty steps, and the folder that loads on the original base)
and with (IA)^3. methods.safetensors has the input x and the outputs. Run golden.py first."""

import copy
import shutil
import tempfile
import warnings

import peft
import torch
from safetensors.torch import load_file, save_file

from golden import adapted, export, root, save
from models import Grouped

warnings.filterwarnings('ignore')


def main():
    torch.manual_seed(5)
    base = Grouped().eval()
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(6))
    tensors = {'x': x, 'base': base(x).detach()}
    export(base, [x], ['x'], root / 'grouped.onnx', {0: 'batch'})

    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=['conv', 'k_proj'])
    tensors['grouped'] = save(adapted(copy.deepcopy(base), config, 40), 'grouped', [x])
    pissa(base, x, tensors)
    ia3(base, x, tensors)
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=['conv', 'k_proj'], use_dora=True)
    tensors['grouped-dora'] = save(adapted(copy.deepcopy(base), config, 42), 'grouped-dora', [x])
    save_file({key: value.contiguous() for key, value in tensors.items()}, root / 'methods.safetensors')


def pissa(base, x, tensors):
    """The first singular values, the losses of twenty steps against zero, and the converted adapter."""
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=['k_proj', 'down_proj'], init_lora_weights='pissa')
    model = peft.get_peft_model(copy.deepcopy(base), config)
    with tempfile.TemporaryDirectory() as start:
        model.peft_config['default'].init_lora_weights = True
        model.save_pretrained(start)
        for key, value in load_file(f'{start}/adapter_model.safetensors').items():
            tensors[f'pissa/{key}'] = value
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
        losses = []
        for _ in range(20):
            loss = model(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            losses.append(loss.item())
            optimizer.step()
        tensors['pissa/losses'] = torch.tensor(losses)
        tensors['pissa'] = model(x).detach()
        model.peft_config['default'].init_lora_weights = 'pissa'
        folder = root / 'pissa'
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder, path_initial_model_for_weight_conversion=start)
        (folder / 'README.md').unlink(missing_ok=True)


def ia3(base, x, tensors):
    """Random factors of outputs (conv, k_proj) and inputs (down_proj), and the loss and gradients of a step."""
    config = peft.IA3Config(target_modules=['conv', 'k_proj', 'down_proj'], feedforward_modules=['down_proj'])
    model = peft.get_peft_model(copy.deepcopy(base), config)
    generator = torch.Generator().manual_seed(41)
    for name, parameter in model.named_parameters():
        if 'ia3_l' in name:
            parameter.data = 1 + 0.5 * torch.randn(parameter.shape, generator=generator)
    tensors['ia3'] = save(model, 'ia3', [x])
    model(x).square().mean().backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            tensors[f'ia3/grad/{name.replace(".default", "")}'] = parameter.grad.clone()


if __name__ == '__main__':
    main()
