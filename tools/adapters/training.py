"""Writes test/adapter/golden/training.safetensors: the loss and every gradient of one step, and the losses of twenty
steps of AdamW, of the adapters of golden.py as PEFT trains them. Run golden.py first."""

import pathlib
import warnings

import peft
import torch
from safetensors.torch import load_file, save_file

from models import Logits, Mixed, llama

warnings.filterwarnings('ignore')
root = pathlib.Path(__file__).resolve().parents[2] / 'test' / 'adapter' / 'golden'


def mixed():
    model = Mixed().eval()
    model.load_state_dict(load_file(root / 'mixed.safetensors'))
    return model


def main():
    io = load_file(root / 'outputs.safetensors')
    generator = torch.Generator().manual_seed(4)
    labels = {
        'mixed': torch.randint(0, 5, (2,), generator=generator),
        'llama': torch.randint(0, 32, (2, 5), generator=generator),
    }
    tensors = {f'{base}/labels': value for base, value in labels.items()}
    for name in ('linear', 'kinds', 'rslora', 'dora', 'llama'):
        base = 'llama' if name == 'llama' else 'mixed'
        model = peft.PeftModel.from_pretrained(llama() if base == 'llama' else mixed(), root / name, is_trainable=True)
        # Neither model has dropout, so training mode changes nothing.
        forward = (lambda: Logits(model.base_model.model)(io['tokens'])) if base == 'llama' else (lambda: model(io['ids']))
        parameters = {key: value for key, value in model.named_parameters() if value.requires_grad}
        optimizer = torch.optim.AdamW(parameters.values(), lr=1e-2, weight_decay=0.1)
        losses = []
        for step in range(20):
            y = forward()
            loss = torch.nn.functional.cross_entropy(y.flatten(0, -2), labels[base].flatten())
            optimizer.zero_grad()
            loss.backward()
            if step == 0:
                for key, value in parameters.items():
                    plain = key.replace('lora_magnitude_vector.default.weight', 'lora_magnitude_vector')
                    tensors[f'{name}/grad/{plain.replace(".default", "")}'] = value.grad.clone()
            losses.append(loss.item())
            optimizer.step()
        tensors[f'{name}/losses'] = torch.tensor(losses)
    save_file(tensors, root / 'training.safetensors')


if __name__ == '__main__':
    main()
