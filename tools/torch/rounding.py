"""Shows how far rounding moves gradients in training mode: `rounding.py NAME ...`, with names of architectures.py.

For 4 seeds prints the error of PyTorch's gradients in float32, and that of its gradients in float64 after every weight
has moved by about 6e-8 of itself, 4 times. Errors are relative to float64, as compare.ts computes them.
"""

import copy
import sys

import torch

from architectures import architectures
from export import gradients, varied, without_drawing


def error(found, expected):
    floor = 1e-3 * max(x.abs().max() for x in expected.values())
    return max(float((found[k] - x).abs().max() / max(x.abs().max(), floor)) for k, x in expected.items())


def moved(model, seed):
    torch.manual_seed(seed)
    model = copy.deepcopy(model).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 6e-8 * torch.randn_like(parameter))
    return model


def main(names):
    for name in names:
        for seed in range(4):
            torch.manual_seed(seed)
            model, inputs = architectures[name]()
            varied(without_drawing(model)).train()
            names_of_inputs = [f"x{i}" for i in range(len(inputs))]
            def wrt(model, dtype):
                return gradients(model, inputs, names_of_inputs, dtype)[2]

            exact = wrt(model, torch.float64)
            errors = [wrt(model, torch.float32)] + [wrt(moved(model, 100 + i), torch.float64) for i in range(4)]
            print(name, "seed", seed, *[f"{error(each, exact):.1e}" for each in errors], flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
