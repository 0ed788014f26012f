"""Writes the results of torchvision for small images to test/data/augment/torchvision.json:

    python tools/torch/rand_augment.py > test/data/augment/torchvision.json

The operations follow each other as in RandAugment; "magnitude" is one of its 31 bins, negative where it goes the other way,
"pixels" the bytes of the result. Made with torchvision 0.28.
"""

import json

import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import RandAugment, _apply_op


def made(shape, magnitudes, seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    if seed % 2:
        image = (image.float() * 0.5 + 40).to(torch.uint8)
    results = []
    for name, (strengths, signed) in RandAugment()._augmentation_space(31, shape[1:]).items():
        for magnitude in magnitudes if strengths.ndim else magnitudes[:1]:
            for sign in (1, -1) if signed else (1,):
                strength = sign * float(strengths[magnitude]) if strengths.ndim else 0.0
                result = _apply_op(image, name, strength, InterpolationMode.NEAREST, None)
                results.append({"name": name, "magnitude": sign * magnitude, "pixels": hexed(result)})
    return {"shape": list(shape), "image": hexed(image), "results": results}


def hexed(image):
    return bytes(image.flatten().tolist()).hex()


print(json.dumps([made((3, 7, 9), [9, 25], 3), made((1, 6, 5), [14], 4), made((3, 20, 21), [17], 6)]))
