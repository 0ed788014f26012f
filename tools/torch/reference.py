"""Computes the architectures of models/ in PyTorch, with weights from a formula.

    ~/.cache/onnx-ire/torch/bin/python3 tools/torch/reference.py test/models/reference.json && npm run format

Writes, by name, a preset, the number of examples and the logits in evaluation form. `elements` gives weights and inputs
from their names and shapes; test/models/reference.ts has the same formula. Residual networks and vision transformers
are torchvision's, the rest is written here. Run it with the environment `torch` (npm run python -- torch).
"""

import json
import math
import sys
from pathlib import Path

import numpy
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vision_transformer import VisionTransformer

PRESETS = Path(__file__).parents[2] / "models" / "presets"


def bits(name, count):
    """A 32-bit hash per element of its index and the name (FNV-1a)."""
    start = 0x811C9DC5
    for character in name.encode():
        start = ((start ^ character) * 0x01000193) & 0xFFFFFFFF
    h = (numpy.arange(1, count + 1, dtype=numpy.uint32) * numpy.uint32(0x9E3779B1)) ^ numpy.uint32(start)
    h = (h ^ (h >> numpy.uint32(15))) * numpy.uint32(0x85EBCA6B)
    return h ^ (h >> numpy.uint32(13))


def elements(name, *dims):
    count = math.prod(dims)
    u = bits(name, count) / 2**31 - 1
    if name == "x":
        values = 2 * u
    elif name.endswith("running_var"):
        values = 1 + 0.5 * u
    elif len(dims) == 1:
        values = 1 + 0.1 * u if name.endswith("weight") else 0.1 * u
    else:
        values = math.sqrt(3 / (count / dims[0] if len(dims) == 4 else math.sqrt(count))) * u
    return torch.from_numpy(values.astype(numpy.float32).reshape(dims))


def image(batch, channels, size):
    return elements("x", batch, channels, size, size)


def tokens(batch, preset):
    ids = bits("tokens", batch * preset["context"]) % numpy.uint32(preset["vocabulary"])
    return torch.from_numpy(ids.astype(numpy.int64).reshape(batch, -1))


def norm(x, name):
    vector = lambda key: elements(f"{name}.{key}", x.shape[1])
    return F.batch_norm(x, vector("running_mean"), vector("running_var"), vector("weight"), vector("bias"))


def convolution(x, name, to, kernel=3, stride=1):
    return F.conv2d(x, elements(f"{name}.weight", to, x.shape[1], kernel, kernel), stride=stride, padding=kernel // 2)


def dense(x, name, to):
    return F.linear(x, elements(f"{name}.weight", to, x.shape[-1]), elements(f"{name}.bias", to))


def project(x, name, to, bias=True):
    y = x @ elements(f"{name}.weight", x.shape[-1], to)
    return y + elements(f"{name}.bias", to) if bias else y


def mlp(preset, batch):
    x = elements("x", batch, preset["features"])
    for i, units in enumerate(preset["hidden"]):
        x = F.relu(dense(x, f"hidden{i}", units))
    return dense(x, "head", preset["classes"])


def lenet(preset, batch):
    def convolved(x, name, to, padding):
        weight = elements(f"{name}.weight", to, x.shape[1], 5, 5)
        return F.avg_pool2d(torch.tanh(F.conv2d(x, weight, elements(f"{name}.bias", to), padding=padding)), 2)

    x = convolved(convolved(image(batch, preset["channels"], 28), "conv1", 6, 2), "conv2", 16, 0).flatten(1)
    x = torch.tanh(dense(torch.tanh(dense(x, "hidden1", 120)), "hidden2", 84))
    return dense(x, "head", preset["classes"])


class Padding(nn.Module):
    """Shortcut without parameters: every other pixel, and zeros in new channels."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.channels - x.shape[1]))


def cifar_resnet(preset):
    """Residual network of torchvision with another stem; with three stages their widths are 16, 32, 64."""
    model = ResNet(BasicBlock, [*preset["depths"], 1][:4], preset["classes"])
    first = preset["stages"][0]
    model.conv1, model.bn1 = nn.Conv2d(3, first, 3, padding=1, bias=False), nn.BatchNorm2d(first)
    model.maxpool = nn.Identity()
    if len(preset["stages"]) == 3:
        before = first
        for i, to in enumerate(preset["stages"]):
            blocks = []
            for j in range(preset["depths"][i]):
                changes = i > 0 and j == 0
                blocks.append(BasicBlock(before, to, 2 if changes else 1, Padding(to) if changes else None))
                before = to
            setattr(model, f"layer{i + 1}", nn.Sequential(*blocks))
        model.layer4, model.fc = nn.Identity(), nn.Linear(before, preset["classes"])
    return model


def resnet(preset, batch):
    if preset["stem"] == "cifar":
        model = cifar_resnet(preset)
    else:
        block = {"basic": BasicBlock, "bottleneck": Bottleneck}[preset["block"]]
        model = ResNet(block, preset["depths"], preset["classes"])
    state = model.state_dict()
    model.load_state_dict({k: elements(k, *v.shape) if v.dtype == torch.float32 else v for k, v in state.items()})
    return model.eval()(image(batch, 3, preset["size"]))


def wide_resnet(preset, batch):
    x = convolution(image(batch, 3, preset["size"]), "conv1", 16)
    for i in range(3):
        to = 16 * preset["widen"] * 2**i
        for j in range((preset["depth"] - 4) // 6):
            name, stride = f"block{i + 1}.{j}", 2 if i > 0 and j == 0 else 1
            active = F.relu(norm(x, f"{name}.bn1"))
            y = F.relu(norm(convolution(active, f"{name}.conv1", to, stride=stride), f"{name}.bn2"))
            past = x if x.shape[1] == to else convolution(active, f"{name}.shortcut", to, 1, stride)
            x = convolution(y, f"{name}.conv2", to) + past
    return dense(F.relu(norm(x, "bn1")).mean((2, 3)), "fc", preset["classes"])


def vit(preset, batch):
    width, layers, patch = preset["width"], preset["layers"], preset["patch"]
    model = VisionTransformer(
        preset["size"], patch, layers, preset["heads"], width, 4 * width, num_classes=preset["classes"]
    )
    matrix = lambda name, before, to: elements(f"{name}.weight", before, to).t()
    length = (preset["size"] // patch) ** 2 + 1
    state = {
        "class_token": elements("token.weight", 1, width)[None],
        "conv_proj.weight": elements("patches.weight", width, 3, patch, patch),
        "conv_proj.bias": elements("patches.bias", width),
        "encoder.pos_embedding": elements("positions.weight", length, width)[None],
        "encoder.ln.weight": elements("norm.weight", width),
        "encoder.ln.bias": elements("norm.bias", width),
        "heads.head.weight": matrix("head", width, preset["classes"]),
        "heads.head.bias": elements("head.bias", preset["classes"]),
    }
    for i in range(layers):
        ours, theirs = f"block{i}", f"encoder.layers.encoder_layer_{i}"
        parts = [f"{ours}.attention.{part}" for part in ("query", "key", "value")]
        state[f"{theirs}.self_attention.in_proj_weight"] = torch.cat([matrix(part, width, width) for part in parts])
        state[f"{theirs}.self_attention.in_proj_bias"] = torch.cat([elements(f"{part}.bias", width) for part in parts])
        for name, their, before, to in (
            ("attention.output", "self_attention.out_proj", width, width),
            ("mlp.expand", "mlp.0", width, 4 * width),
            ("mlp.contract", "mlp.3", 4 * width, width),
        ):
            state[f"{theirs}.{their}.weight"] = matrix(f"{ours}.{name}", before, to)
            state[f"{theirs}.{their}.bias"] = elements(f"{ours}.{name}.bias", to)
        for name, their in (("norm1", "ln_1"), ("norm2", "ln_2")):
            for key in ("weight", "bias"):
                state[f"{theirs}.{their}.{key}"] = elements(f"{ours}.{name}.{key}", width)
    model.load_state_dict(state)
    return model.eval()(image(batch, 3, preset["size"]))


def causal_attention(x, name, heads, bias, turn=lambda x: x, key_heads=None, output_bias=None):
    batch, length, width = x.shape
    size, shared = width // heads, heads // (key_heads or heads)
    q, k, v = (
        project(x, f"{name}.{part}", count * size, bias).view(batch, length, count, size).transpose(1, 2)
        for part, count in (("query", heads), ("key", heads // shared), ("value", heads // shared))
    )
    k, v = (y.repeat_interleave(shared, 1) for y in (k, v))
    scores = turn(q) @ turn(k).transpose(-2, -1) / math.sqrt(width // heads)
    ahead = torch.ones(length, length, dtype=torch.bool).triu(1)
    mixed = scores.masked_fill(ahead, -math.inf).softmax(-1) @ v
    return project(mixed.transpose(1, 2).reshape(batch, length, width), f"{name}.output", width, bias if output_bias is None else output_bias)


def transformer(preset, batch):
    width = preset["width"]
    layer_norm = lambda x, name: F.layer_norm(x, (width,), elements(f"{name}.weight", width), elements(f"{name}.bias", width))
    embedding = elements("embedding.weight", preset["vocabulary"], width)
    x = embedding[tokens(batch, preset)] + elements("positions.weight", preset["context"], width)
    for i in range(preset["layers"]):
        name = f"block{i}"
        x = x + causal_attention(layer_norm(x, f"{name}.norm1"), f"{name}.attention", preset["heads"], True)
        y = project(layer_norm(x, f"{name}.norm2"), f"{name}.mlp.expand", 4 * width)
        y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
        x = x + project(y, f"{name}.mlp.contract", width)
    return layer_norm(x, "norm") @ embedding.t()


def turned(x, theta=10000.0):
    """(a + i b) e^(i t / theta^(2 k / size)) for the pairs (k, k + size // 2), in complex numbers."""
    length, half = x.shape[-2], x.shape[-1] // 2
    angles = torch.outer(torch.arange(length), theta ** (-torch.arange(half) / half))
    a, b, rest = x.split([half, half, x.shape[-1] - 2 * half], -1)
    z = torch.complex(a.contiguous(), b.contiguous()) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((z.real, z.imag, rest), -1)


def llama(preset, batch):
    width = preset["width"]
    epsilon = preset.get("epsilon", 1e-5)
    rms = lambda x, name: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * elements(f"{name}.weight", width)
    embedding = elements("embedding.weight", preset["vocabulary"], width)
    x = embedding[tokens(batch, preset)]
    for i in range(preset["layers"]):
        name = f"block{i}"
        turn = lambda x: turned(x, float(preset.get("theta", 10000)))
        shape = preset["heads"], preset.get("qkvBias", False), turn, preset.get("keyHeads"), False
        x = x + causal_attention(rms(x, f"{name}.norm1"), f"{name}.attention", *shape)
        y = rms(x, f"{name}.norm2")
        gate, up = (project(y, f"{name}.mlp.{part}", preset["hidden"], False) for part in ("gate", "up"))
        x = x + project(F.silu(gate) * up, f"{name}.mlp.down", width, False)
    x = rms(x, "norm")
    return x @ embedding.t() if preset["tied"] else project(x, "head", preset["vocabulary"], False)


kinds = {
    "mlp": mlp, "lenet": lenet, "resnet": resnet, "wide-resnet": wide_resnet, "vit": vit, "transformer": transformer,
    "llama": llama,
}  # fmt: skip
text = {"vocabulary": 23, "context": 12}

# Preset and changed options.
cases = [
    ("mlp", {}),
    ("lenet", {}),
    ("resnet-20", {}),
    ("resnet-18-cifar", {}),
    ("resnet-18", {"size": 64, "classes": 10}),
    ("resnet-50", {"size": 64, "classes": 10}),
    ("wrn-16-8", {}),
    ("vit-t-4", {}),
    ("vit-s-16", {"size": 64, "classes": 10}),
    ("transformer", text),
    ("llama-tiny", {**text, "tied": True}),
    ("llama-60m", {**text, "layers": 2}),
    ("qwen2.5-0.5b", {**text, "layers": 2}),
    ("smollm2-135m", {**text, "layers": 2}),
]


def main(path):
    results = {}
    for name, changes in cases:
        preset = {**json.loads((PRESETS / f"{name}.json").read_text()), **changes}
        batch = 2
        with torch.no_grad():
            logits = kinds[preset["kind"]](preset, batch)
        results[name] = {"changes": changes, "examples": batch, "logits": [float(f"{v:.6g}") for v in logits.flatten()]}
        print(name, tuple(logits.shape), float(logits.std()))
    Path(path).write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    torch.manual_seed(0)
    main(sys.argv[1])
