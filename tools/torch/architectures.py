"""Small members of well-known families. Each entry creates a module with random weights, and its inputs."""

import math

import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models
from torchvision.models import segmentation
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.densenet import DenseNet
from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2
from torchvision.models.vgg import make_layers
from torchvision.models.video import resnet as video
from torchvision.models.vision_transformer import VisionTransformer

from layers import CLASSES, VOCABULARY, layers


def image(size, batch=2, channels=3):
    return [torch.randn(batch, channels, size, size)]


def tokens(batch=2, length=12):
    return [torch.randint(0, VOCABULARY, (batch, length))]


class Attention(nn.Module):
    """Self-attention with `heads` heads; `shared` above 1 gives fewer key and value heads."""

    def __init__(self, width, heads, causal, shared=1, rotary=False, bias=True):
        super().__init__()
        self.heads, self.shared, self.causal, self.rotary = heads, shared, causal, rotary
        self.size = width // heads
        self.q = nn.Linear(width, width, bias=bias)
        self.k = nn.Linear(width, width // shared, bias=bias)
        self.v = nn.Linear(width, width // shared, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, x):
        batch, length, width = x.shape
        q = self.q(x).view(batch, length, self.heads, self.size).transpose(1, 2)
        k = self.k(x).view(batch, length, self.heads // self.shared, self.size).transpose(1, 2)
        v = self.v(x).view(batch, length, self.heads // self.shared, self.size).transpose(1, 2)
        if self.rotary:
            q, k = rotated(q), rotated(k)
        if self.shared > 1:
            k, v = repeated(k, self.shared), repeated(v, self.shared)
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.size)
        if self.causal:
            mask = torch.ones(length, length, dtype=torch.bool).tril()
            scores = scores.masked_fill(~mask, float("-inf"))
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width))


def repeated(x, times):
    batch, heads, length, size = x.shape
    return x[:, :, None].expand(batch, heads, times, length, size).reshape(batch, heads * times, length, size)


def rotated(x):
    """Rotary position embedding on halves, as in Llama."""
    length, size = x.shape[-2:]
    angles = torch.outer(torch.arange(length).to(x), 10000.0 ** (-torch.arange(0, size, 2).to(x) / size))
    cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


class GeluTanh(nn.Module):
    def forward(self, x):
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class GPT2Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), GeluTanh(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT2(nn.Module):
    """Pre-norm decoder with learned positions and tied embedding."""

    def __init__(self, width=32, heads=4, layers=3, length=32):
        super().__init__()
        self.token, self.position = nn.Embedding(VOCABULARY, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(GPT2Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, ids):
        x = self.token(ids) + self.position(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.token.weight.t()


class BERTBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attention = Attention(width, heads, causal=False)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))


class BERT(nn.Module):
    """Post-norm encoder with segment embeddings and a pooled classifier."""

    def __init__(self, width=32, heads=4, layers=3, length=32):
        super().__init__()
        self.token, self.position = nn.Embedding(VOCABULARY, width), nn.Embedding(length, width)
        self.segment, self.norm = nn.Embedding(2, width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(BERTBlock(width, heads) for _ in range(layers))
        self.pool, self.head = nn.Linear(width, width), nn.Linear(width, CLASSES)

    def forward(self, ids):
        x = self.token(ids) + self.position(torch.arange(ids.shape[1])) + self.segment(ids % 2)
        x = self.norm(x)
        for block in self.blocks:
            x = block(x)
        return self.head(torch.tanh(self.pool(x[:, 0])))


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(1 + 0.1 * torch.randn(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class LlamaBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.attention = Attention(width, heads, causal=True, shared=2, rotary=True, bias=False)
        self.gate, self.up = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, 3 * width, bias=False)
        self.down = nn.Linear(3 * width, width, bias=False)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    """RMS norm, rotary positions, grouped queries, gated MLP."""

    def __init__(self, width=32, heads=4, layers=3):
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, width)
        self.blocks = nn.ModuleList(LlamaBlock(width, heads) for _ in range(layers))
        self.norm, self.head = RMSNorm(width), nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, ids):
        x = self.token(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Recurrent(nn.Module):
    """Two bidirectional layers between an embedding and a classifier."""

    def __init__(self, kind, width=16):
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, width)
        self.layers = kind(width, width, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * width, CLASSES)

    def forward(self, ids):
        return self.head(self.layers(self.token(ids))[0]).mean(1)


def double_convolution(before, after):
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(),
    )  # fmt: skip


class UNet(nn.Module):
    """Upsamples one level with a transposed convolution, the other with bilinear interpolation."""

    def __init__(self, width=8):
        super().__init__()
        self.down1, self.down2 = double_convolution(3, width), double_convolution(width, 2 * width)
        self.middle = double_convolution(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.merge2 = double_convolution(4 * width, 2 * width)
        self.up1 = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.merge1 = double_convolution(3 * width, width)
        self.out = nn.Conv2d(width, 2, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        x = self.up2(self.middle(F.max_pool2d(b, 2)))
        x = self.up1(self.merge2(torch.cat((x, b), 1)))
        return self.out(self.merge1(torch.cat((x, a), 1)))


class Volume(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv3d(2, width, 3, padding=1), nn.BatchNorm3d(width), nn.LeakyReLU(0.1), nn.MaxPool3d(2),
            nn.Conv3d(width, 2 * width, 3, stride=2), nn.GroupNorm(4, 2 * width), nn.ELU(),
            nn.Conv3d(2 * width, 2 * width, 3, padding=1, groups=4), nn.InstanceNorm3d(2 * width, affine=True),
            nn.PReLU(2 * width), nn.AvgPool3d(2),
        )  # fmt: skip
        self.head = nn.Linear(2 * width, CLASSES)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3, 4)))


class Encoder(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, width)
        layer = nn.TransformerEncoderLayer(width, 4, 64, batch_first=True, activation="gelu")
        # The fused inference path cannot be exported to ONNX.
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, CLASSES)
        # All layers are initialized as copies of one layer.
        with torch.no_grad():
            for parameter in self.encoder.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))

    def forward(self, ids):
        return self.head(self.encoder(self.token(ids)).mean(1))


def convnext():
    return ConvNeXt([CNBlockConfig(16, 32, 2), CNBlockConfig(32, 64, 2), CNBlockConfig(64, None, 1)], num_classes=CLASSES)


def swin():
    return SwinTransformer([2, 2], 24, [2, 2], [2, 4], [4, 4], stochastic_depth_prob=0.0, num_classes=CLASSES)


def swin2():
    return SwinTransformer([2, 2], 24, [1, 2], [2, 4], [4, 4], stochastic_depth_prob=0.0, num_classes=CLASSES,
                           block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2)  # fmt: skip


def vgg():
    model = models.VGG(make_layers([8, "M", 16, "M", 16, 16, "M"]), CLASSES, init_weights=False)
    model.classifier = nn.Sequential(nn.Linear(16 * 49, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, CLASSES))
    return model


def maxvit():
    return models.MaxVit((32, 32), 8, 4, [8, 16], [1, 1], 4, stochastic_depth_prob=0.0, num_classes=CLASSES)


def efficientnet2():
    blocks = [FusedMBConvConfig(1, 3, 1, 8, 8, 1), FusedMBConvConfig(4, 3, 2, 8, 16, 2), MBConvConfig(4, 3, 2, 16, 24, 2)]
    return EfficientNet(blocks, 0.0, 0.0, CLASSES, last_channel=64)


def video_resnet(convolution):
    return video.VideoResNet(video.BasicBlock, [convolution] * 4, [1, 1, 1, 1], video.BasicStem, num_classes=CLASSES)


class Segmentation(nn.Module):
    """The output of a segmentation model of torchvision, without its dictionary."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)["out"]


def fcn():
    backbone = IntermediateLayerGetter(models.resnet18(), {"layer4": "out"})
    return Segmentation(segmentation.FCN(backbone, segmentation.fcn.FCNHead(512, 3)))


def deeplab():
    return Segmentation(segmentation.deeplabv3_mobilenet_v3_large(weights_backbone=None, num_classes=3))


def lraspp():
    return Segmentation(segmentation.lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=3))


architectures = {
    "ResNet-18": lambda: (models.resnet18(num_classes=CLASSES), image(64, batch=4)),
    "DenseNet": lambda: (DenseNet(8, (2, 3, 2), 16, num_classes=CLASSES), image(64, batch=4)),
    "MobileNetV3": lambda: (models.mobilenet_v3_small(num_classes=CLASSES), image(64, batch=4)),
    "EfficientNet-B0": lambda: (models.efficientnet_b0(num_classes=CLASSES), image(64, batch=4)),
    "ConvNeXt": lambda: (convnext(), image(32)),
    "ViT": lambda: (VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=CLASSES), image(32)),
    "Swin": lambda: (swin(), image(32)),
    "GPT-2": lambda: (GPT2(), tokens()),
    "BERT": lambda: (BERT(), tokens()),
    "Llama": lambda: (Llama(), tokens()),
    "LSTM": lambda: (Recurrent(nn.LSTM), tokens()),
    "GRU": lambda: (Recurrent(nn.GRU), tokens()),
    "RNN": lambda: (Recurrent(nn.RNN), tokens()),
    "U-Net": lambda: (UNet(), image(32)),
    "3-D CNN": lambda: (Volume(), [torch.randn(2, 2, 12, 12, 12)]),
    "Transformer encoder": lambda: (Encoder(), tokens()),
    "RegNet": lambda: (models.regnet_y_400mf(num_classes=CLASSES), image(64, batch=4)),
    "ShuffleNetV2": lambda: (models.shufflenet_v2_x0_5(num_classes=CLASSES), image(64, batch=4)),
    "MNASNet": lambda: (models.mnasnet0_5(num_classes=CLASSES), image(64, batch=4)),
    "SqueezeNet": lambda: (models.squeezenet1_1(num_classes=CLASSES), image(64)),
    "GoogLeNet": lambda: (models.GoogLeNet(CLASSES, aux_logits=False, init_weights=False), image(64, batch=4)),
    "Inception": lambda: (models.Inception3(CLASSES, aux_logits=False, init_weights=False), image(75, batch=4)),
    "VGG": lambda: (vgg(), image(56)),
    "MaxViT": lambda: (maxvit(), image(32)),
    "EfficientNetV2": lambda: (efficientnet2(), image(64, batch=4)),
    "Swin V2": lambda: (swin2(), image(32)),
    "FCN": lambda: (fcn(), image(64, batch=4)),
    "DeepLabV3": lambda: (deeplab(), image(64, batch=4)),
    "LR-ASPP": lambda: (lraspp(), image(64, batch=4)),
    "R3D": lambda: (video_resnet(video.Conv3DSimple), [torch.randn(2, 3, 4, 32, 32)]),
    **layers,
}
