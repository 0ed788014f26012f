"""The models of tools/bench in plain torch.nn, under the parameter names of their ONNX files."""

import torch
import torchvision
from torch import nn
from torch.nn import functional as F


class MLP(nn.Module):
    def __init__(self, features=784, hidden=512, classes=10):
        super().__init__()
        self.hidden0, self.hidden1 = nn.Linear(features, hidden), nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x):
        return self.head(F.relu(self.hidden1(F.relu(self.hidden0(x)))))


def convolution(before, after, kernel, stride=1):
    return nn.Conv2d(before, after, kernel, stride=stride, padding=(kernel - 1) // 2, bias=False)


class BasicBlock(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1, self.bn1 = convolution(before, after, 3, stride), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = convolution(after, after, 3), nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(convolution(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = convolution(3, 64, 3), nn.BatchNorm2d(64)
        before = 64
        for i, after in enumerate((64, 128, 256, 512)):
            stride = 1 if i == 0 else 2
            setattr(self, f"layer{i + 1}", nn.Sequential(BasicBlock(before, after, stride), BasicBlock(after, after, 1)))
            before = after
        self.fc = nn.Linear(512, 10)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        return self.fc(y.mean((2, 3)))


class Attention(nn.Module):
    """`fused` selects PyTorch's scaled_dot_product_attention; otherwise its operations are written out."""

    fused = True

    def __init__(self, width, heads, bias=True):
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width, bias=bias), nn.Linear(width, width, bias=bias)
        self.value, self.output = nn.Linear(width, width, bias=bias), nn.Linear(width, width, bias=bias)

    def forward(self, x, mask=None, turn=lambda x: x):
        batch, length, width = x.shape

        def split(y):
            return y.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        q, k, v = turn(split(self.query(x))), turn(split(self.key(x))), split(self.value(x))
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=mask is not None)
        else:
            scores = q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5
            mixed = (scores if mask is None else scores + mask).softmax(-1) @ v
        return self.output(mixed.transpose(1, 2).reshape(batch, length, width))


class ViTBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.mlp = nn.ModuleDict({"expand": nn.Linear(width, 4 * width), "contract": nn.Linear(4 * width, width)})

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp["contract"](F.gelu(self.mlp["expand"](self.norm2(x))))


class ViT(nn.Module):
    def __init__(self, patch, heads, layers, width=192, size=32):
        super().__init__()
        length = (size // patch) ** 2 + 1
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.token, self.positions = nn.Embedding(1, width), nn.Embedding(length, width)
        for i in range(layers):
            setattr(self, f"block{i}", ViTBlock(width, heads))
        self.layers = layers
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 10)

    def forward(self, x):
        embedded = self.patches(x).flatten(2).transpose(1, 2)
        token = self.token.weight.expand(len(x), 1, -1)
        y = torch.cat((token, embedded), 1) + self.positions.weight
        for i in range(self.layers):
            y = getattr(self, f"block{i}")(y)
        return self.head(self.norm(y[:, 0]))


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, 1e-5)


class LlamaBlock(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.attention = Attention(width, heads, bias=False)
        sizes = {"gate": (width, hidden), "up": (width, hidden), "down": (hidden, width)}
        self.mlp = nn.ModuleDict({name: nn.Linear(*size, bias=False) for name, size in sizes.items()})

    def forward(self, x, mask, turn):
        x = x + self.attention(self.norm1(x), mask, turn)
        y = self.norm2(x)
        return x + self.mlp["down"](F.silu(self.mlp["gate"](y)) * self.mlp["up"](y))


class Llama(nn.Module):
    def __init__(self, heads, layers, width=256, hidden=768, vocabulary=256, context=128):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        for i in range(layers):
            setattr(self, f"block{i}", LlamaBlock(width, heads, hidden))
        self.layers = layers
        self.norm, self.head = RMSNorm(width), nn.Linear(width, vocabulary, bias=False)
        size = width // heads
        angles = torch.outer(torch.arange(context), 10000.0 ** (-torch.arange(0, size, 2) / size))
        self.cos, self.sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
        self.mask = torch.full((context, context), -1e9).triu(1)

    def turn(self, x):
        a, b = x.chunk(2, dim=-1)
        return x * self.cos + torch.cat((-b, a), dim=-1) * self.sin

    def forward(self, tokens):
        y = self.embedding(tokens)
        for i in range(self.layers):
            y = getattr(self, f"block{i}")(y, self.mask, self.turn)
        return self.head(self.norm(y))


class EncoderBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.ModuleDict({"expand": nn.Linear(width, 4 * width), "contract": nn.Linear(4 * width, width)})

    def forward(self, x):
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp["contract"](F.gelu(self.mlp["expand"](x))))


class Encoder(nn.Module):
    def __init__(self, heads, layers, width=256, vocabulary=1000, context=128):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        for i in range(layers):
            setattr(self, f"block{i}", EncoderBlock(width, heads))
        self.layers = layers
        self.norm, self.pool, self.head = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, 10)

    def forward(self, tokens):
        y = self.norm(self.embedding(tokens) + self.positions.weight)
        for i in range(self.layers):
            y = getattr(self, f"block{i}")(y)
        return self.head(torch.tanh(self.pool(y[:, 0])))


class LSTM(nn.Module):
    def __init__(self, vocabulary=1000, width=128, hidden=256):
        super().__init__()
        self.embedding, self.head = nn.Embedding(vocabulary, width), nn.Linear(hidden, 10)
        self.lstm = nn.LSTM(width, hidden, num_layers=2)

    def forward(self, tokens):
        _, (state, _) = self.lstm(self.embedding(tokens.t()))
        return self.head(state[-1])


def double_convolution(before, after):
    return nn.Sequential(
        convolution(before, after, 3), nn.BatchNorm2d(after), nn.ReLU(),
        convolution(after, after, 3), nn.BatchNorm2d(after), nn.ReLU(),
    )  # fmt: skip


class UNet(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.down1, self.down2 = double_convolution(3, width), double_convolution(width, 2 * width)
        self.middle = double_convolution(2 * width, 4 * width)
        self.up2, self.merge2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), double_convolution(4 * width, 2 * width)
        self.up1, self.merge1 = nn.ConvTranspose2d(2 * width, width, 2, 2), double_convolution(2 * width, width)
        self.out = nn.Conv2d(width, 2, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        y = self.merge2(torch.cat((self.up2(self.middle(F.max_pool2d(b, 2))), b), 1))
        return self.out(self.merge1(torch.cat((self.up1(y), a), 1)))


class Audio(nn.Module):
    def __init__(self):
        super().__init__()
        before = 1
        for i, (after, stride) in enumerate(((64, 4), (128, 4), (256, 2), (256, 2))):
            setattr(self, f"conv{i}", nn.Conv1d(before, after, 9, stride=stride, padding=4, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm1d(after))
            before = after
        self.head = nn.Linear(before, 35)

    def forward(self, x):
        for i in range(4):
            x = F.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return self.head(x.mean(2))


models = {
    "mlp": MLP,
    "mlp-130m": MLP,
    "resnet": ResNet18,
    "resnet50": lambda: torchvision.models.resnet50(),
    "mobilenet": lambda: torchvision.models.mobilenet_v2(dropout=0.0),
    "densenet": lambda: torchvision.models.densenet121(),
    "unet": UNet,
    "audio": Audio,
    "lstm": LSTM,
    "vit": ViT,
    "encoder": Encoder,
    "llama": Llama,
}

"""Models whose ONNX files store the weights of linear layers as [from, to]; torch stores [to, from]."""
transposed = {"vit", "encoder", "llama"}


def converted(name, model, weights):
    """Weights of an ONNX file as torch stores them."""
    weights = dict(weights)
    if name in transposed:
        for key, module in model.named_modules():
            if isinstance(module, nn.Linear):
                weights[f"{key}.weight"] = weights[f"{key}.weight"].t().contiguous()
    if name == "lstm":
        # ONNX orders the gates i, o, f, c and torch i, f, c, o; both biases of ONNX are one tensor.
        def gates(x):
            i, o, f, c = x.chunk(4)
            return torch.cat((i, f, c, o))

        for i in range(2):
            w, r, b = (weights.pop(f"lstm{i}.{part}")[0] for part in "wrb")
            bias_ih, bias_hh = b.chunk(2)
            parts = {"weight_ih": w, "weight_hh": r, "bias_ih": bias_ih, "bias_hh": bias_hh}
            weights.update({f"lstm.{part}_l{i}": gates(x) for part, x in parts.items()})
    return weights
