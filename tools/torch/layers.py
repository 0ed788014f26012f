"""Small networks of layers that the families of architectures.py lack."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

CLASSES = 10
VOCABULARY = 60


class Translator(nn.Module):
    """nn.Transformer with a causal mask for the decoder and masks of padding (token 0)."""

    def __init__(self, width=16):
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, width)
        self.transformer = nn.Transformer(width, 2, 2, 2, 32, batch_first=True)
        self.head = nn.Linear(width, VOCABULARY)
        # All layers are initialized as copies of one layer, whose biases are zeros.
        with torch.no_grad():
            for parameter in self.transformer.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))

    def forward(self, source, target):
        length = target.shape[1]
        causal = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
        y = self.transformer(
            self.token(source),
            self.token(target),
            tgt_mask=causal,
            src_key_padding_mask=source == 0,
            memory_key_padding_mask=source == 0,
        )
        return self.head(y)


class ScaledDotProduct(nn.Module):
    """Three calls of scaled_dot_product_attention: causal, with a boolean mask, and with a float mask and a scale."""

    def __init__(self, width=16, heads=2):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.projections = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(3))
        self.bias = nn.Parameter(torch.randn(heads, 8, 8))

    def forward(self, x):
        far = (torch.arange(8)[:, None] - torch.arange(8)[None, :]).abs() < 4
        for projection, options in zip(
            self.projections,
            ({"is_causal": True}, {"attn_mask": far}, {"attn_mask": self.bias, "scale": 0.3}),
        ):
            q, k, v = (
                part.unflatten(-1, (self.heads, self.size)).transpose(1, 2) for part in projection(x).chunk(3, dim=-1)
            )
            x = x + F.scaled_dot_product_attention(q, k, v, **options).transpose(1, 2).flatten(2)
        return x


class MultiHead(nn.Module):
    """Cross-attention with keys and values of other widths, biases of both, and a padding mask."""

    def __init__(self, width=16):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, kdim=12, vdim=10, add_bias_kv=True, batch_first=True)

    def forward(self, q, k, v):
        return self.attention(q, k, v, key_padding_mask=k[:, :, 0] > 1.0, need_weights=False)[0]


class LastState(nn.Module):
    """The last states of recurrent layers with time first, initial states of the input, and a cell."""

    def __init__(self, width=8):
        super().__init__()
        self.lstm = nn.LSTM(width, width, num_layers=2, bidirectional=True)
        self.gru = nn.GRU(4 * width, width, batch_first=True)
        self.cell = nn.GRUCell(width, width)
        self.rnn = nn.RNN(width, width, nonlinearity="relu")
        self.head = nn.Linear(2 * width, CLASSES)

    def forward(self, x, h):
        y, (hn, cn) = self.lstm(x.transpose(0, 1))
        z, last = self.gru(torch.cat((y, y.flip(0)), -1).transpose(0, 1), h[None])
        w, state = self.rnn(z.transpose(0, 1))
        return self.head(torch.cat((self.cell(last[0], hn[-1]), state[0] * cn[0]), -1))


class Bag(nn.Module):
    """EmbeddingBag over rows of tokens, with weights of the tokens."""

    def __init__(self, width=8):
        super().__init__()
        self.mean = nn.EmbeddingBag(VOCABULARY, width, mode="mean")
        self.sum = nn.EmbeddingBag(VOCABULARY, width, mode="sum")
        self.head = nn.Linear(width, CLASSES)

    def forward(self, ids, weights):
        return self.head(self.mean(ids) + self.sum(ids, per_sample_weights=weights))


class CausalConvolution(nn.Module):
    def __init__(self, before, after, dilation):
        super().__init__()
        self.padding = dilation
        self.convolution = nn.Conv1d(before, after, 2, dilation=dilation)

    def forward(self, x):
        return self.convolution(F.pad(x, (self.padding, 0)))


class WaveNet(nn.Module):
    """Gated residual blocks of dilated causal convolutions."""

    def __init__(self, width=8):
        super().__init__()
        self.start = CausalConvolution(1, width, 1)
        self.blocks = nn.ModuleList(CausalConvolution(width, 2 * width, 2**i) for i in range(4))
        self.skips = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(4))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv1d(width, CLASSES, 1))

    def forward(self, x):
        x, total = self.start(x), 0
        for block, skip in zip(self.blocks, self.skips):
            value, gate = block(x).chunk(2, dim=1)
            y = skip(value.tanh() * gate.sigmoid())
            x, total = x + y, total + y
        return self.head(total)


class Normalizations(nn.Module):
    """Group, instance, layer, root mean square and local response normalization, and normalized vectors."""

    def __init__(self, width=8):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.GroupNorm(2, width), nn.SiLU(),
            nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width, affine=True), nn.Mish(),
            nn.Conv2d(width, width, 3), nn.LayerNorm([width, 8, 8]), nn.Hardswish(),
            nn.LocalResponseNorm(3), nn.Conv2d(width, width, 3, padding=1), nn.InstanceNorm2d(width), nn.RMSNorm(8),
        )  # fmt: skip

    def forward(self, x):
        return F.normalize(self.layers(x).flatten(2), dim=1)


class Reparametrized(nn.Module):
    """Weights computed from others: spectral and weight normalization, an orthogonal one, and tied halves."""

    def __init__(self, width=8):
        super().__init__()
        self.layers = nn.Sequential(
            parametrizations.weight_norm(nn.Conv2d(3, width, 3)), nn.ReLU(),
            parametrizations.spectral_norm(nn.Conv2d(width, width, 3)), nn.LeakyReLU(), nn.Flatten(),
            parametrizations.weight_norm(nn.Linear(width * 16, width), dim=None), nn.Tanh(),
            parametrizations.spectral_norm(nn.Linear(width, CLASSES)),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


class SuperResolution(nn.Module):
    """Pixel shuffle beside a bicubic, a nearest and a bilinear enlargement of the input."""

    def __init__(self, width=8):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.PReLU(), nn.Conv2d(width, 12, 3, padding=1))

    def forward(self, x):
        y = F.pixel_shuffle(self.body(x), 2)
        for options in ({"mode": "bicubic"}, {"mode": "nearest"}, {"mode": "bilinear", "align_corners": False}):
            y = y + F.interpolate(x, scale_factor=2, **options)
        return F.pixel_unshuffle(y, 2) + F.interpolate(y, size=(6, 6), mode="nearest").repeat(1, 4, 1, 1)


class Warp(nn.Module):
    """A spatial transformer: affine_grid and grid_sample with three kinds of padding."""

    def __init__(self):
        super().__init__()
        self.locate = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 6))

    def forward(self, x):
        theta = 0.3 * self.locate(x).view(-1, 2, 3) + torch.eye(2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        y = F.grid_sample(x, grid, align_corners=False)
        y = y + F.grid_sample(x, grid, padding_mode="border", align_corners=True)
        return y + F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


class Experts(nn.Module):
    """A mixture of experts: the two best of four, with weights of a softmax over both."""

    def __init__(self, width=8, experts=4):
        super().__init__()
        self.gate = nn.Linear(width, experts)
        self.up = nn.Parameter(0.3 * torch.randn(experts, width, 2 * width))
        self.down = nn.Parameter(0.3 * torch.randn(experts, 2 * width, width))

    def forward(self, x):
        scores, which = self.gate(x).topk(2, dim=-1)
        weights = torch.zeros_like(self.gate(x)).scatter(-1, which, scores.softmax(-1))
        y = torch.einsum("bld,edh->bleh", x, self.up)
        return x + torch.einsum("bleh,ehd,ble->bld", F.gelu(y, approximate="tanh"), self.down, weights)


class Spectral(nn.Module):
    """Layers in the frequency domain, as in FNet and Fourier neural operators."""

    def __init__(self, width=8, modes=3):
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(modes, 2))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x):
        y = torch.fft.rfft(x, dim=-1)
        low = torch.view_as_real(y)[..., : self.modes, :] * self.weight
        high = torch.view_as_real(y)[..., self.modes :, :]
        z = torch.fft.irfft(torch.view_as_complex(torch.cat((low, high), -2)), n=x.shape[-1], dim=-1)
        return self.head(z + torch.fft.fft(x, dim=-1).real)


class Spectrogram(nn.Module):
    """The logarithm of a short-time Fourier transform's power."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(9, CLASSES)
        self.register_buffer("window", torch.hann_window(16))

    def forward(self, x):
        y = torch.stft(x, 16, hop_length=8, window=self.window, center=False, return_complex=True)
        return self.head(torch.view_as_real(y).square().sum(-1).add(1e-2).log().mean(-1))


class Deconvolutions(nn.Module):
    """Transposed convolutions with output padding, groups and dilation, in one to three dimensions."""

    def __init__(self, width=4):
        super().__init__()
        self.plane = nn.Sequential(
            nn.ConvTranspose2d(3, width, 3, stride=2, padding=1, output_padding=1), nn.ELU(),
            nn.ConvTranspose2d(width, width, 3, stride=3, groups=2, dilation=2, output_padding=2), nn.CELU(),
            nn.ConvTranspose2d(width, width, (1, 4), stride=(1, 2), padding=(0, 1), bias=False),
        )  # fmt: skip
        self.line = nn.ConvTranspose1d(width, width, 4, stride=2, padding=1)
        self.volume = nn.ConvTranspose3d(1, 2, 2, stride=2, output_padding=1)

    def forward(self, x):
        y = self.plane(x).mean(2)
        return self.volume(self.line(y)[:, None, :, None, :16])


class Patches(nn.Module):
    """unfold, a product per patch, and fold; and windows by Tensor.unfold."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(12, 12)
        self.window = nn.Linear(4, 2)

    def forward(self, x):
        y = F.unfold(x, 2, stride=1, padding=1)
        y = F.fold(self.mix(y.transpose(1, 2)).transpose(1, 2), x.shape[-2:], 2, stride=1, padding=1)
        return self.window(y.unfold(3, 4, 2))


class Indexing(nn.Module):
    """Slices with steps, lists, masks, gather, scatter, index_add, roll, flip and assignments."""

    def __init__(self, width=12):
        super().__init__()
        self.table = nn.Parameter(torch.randn(5, width))
        self.head = nn.Linear(width, width)

    def forward(self, x, ids):
        y = self.head(x).clone()
        y[:, 1:7:2, ::3] = y[:, 0:6:2, 1::3] * 2
        y[:, [0, 2], :] += self.table[[1, 3]]
        y[:, -1] = self.table[ids[:, 0]]
        z = y.gather(1, ids[:, :, None].expand(-1, -1, y.shape[-1]))
        z = z.scatter_add(1, ids[:, :, None].expand(-1, -1, y.shape[-1]), y[:, : ids.shape[1]])
        z = z.index_add(1, torch.tensor([0, 2, 0]), y[:, 2:5]) + y.roll((1, -2), (1, 2))[:, : z.shape[1]].flip(2)
        z = torch.where(z > 0, z, z.clamp(-0.5, 0.2)).masked_fill(z > 2.5, 0.0)
        return z.index_select(2, torch.tensor([3, 1, 1, 7])) + torch.take_along_dim(z, z.argsort(2), 2)[..., :4]


class Scans(nn.Module):
    """Running sums, products and maxima, sorted values, norms, variances, and other reductions."""

    def __init__(self, width=6):
        super().__init__()
        self.head = nn.Linear(width, width)

    def forward(self, x):
        y = self.head(x)
        a = y.cumsum(1) + y.flip(1).cumsum(-1) + y.logcumsumexp(1)
        b = y.sort(1, descending=True).values + y.amax(1, keepdim=True)
        c = y.var(1, keepdim=True) + y.std(-1, keepdim=True, correction=0) + y.norm(dim=1, keepdim=True)
        d = y.logsumexp(2, keepdim=True) + y.abs().add(0.5).prod(2, keepdim=True)
        return a + b + c + d + y.cummax(1).values


class KAN(nn.Module):
    """Layers of learned splines (Kolmogorov-Arnold networks): B-splines of order 3 on a grid."""

    def __init__(self, widths=(4, 6, CLASSES), cells=4, order=3):
        super().__init__()
        self.order = order
        self.register_buffer("grid", torch.linspace(-1 - order / 2, 1 + order / 2, cells + 2 * order + 1))
        self.base = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.splines = nn.ParameterList(
            0.3 * torch.randn(b, a, cells + order) for a, b in zip(widths, widths[1:])
        )

    def bases(self, x):
        x, grid = x.unsqueeze(-1), self.grid
        found = ((x >= grid[:-1]) & (x < grid[1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            left = (x - grid[: -(k + 1)]) / (grid[k:-1] - grid[: -(k + 1)])
            right = (grid[k + 1 :] - x) / (grid[k + 1 :] - grid[1:-k])
            found = left * found[..., :-1] + right * found[..., 1:]
        return found

    def forward(self, x):
        for base, spline in zip(self.base, self.splines):
            x = base(F.silu(x)) + torch.einsum("bik,oik->bo", self.bases(x.tanh()), spline)
        return x


class Pools(nn.Module):
    """Pooling to given sizes, with padding and rounding up, and of other norms; padding by reflection and others."""

    def __init__(self, width=4):
        super().__init__()
        self.start = nn.Conv2d(3, width, 3, padding=1, padding_mode="circular")
        self.pools = nn.ModuleList((
            nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d((3, 5)), nn.AdaptiveMaxPool2d(3),
            nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AvgPool2d(3, 2, ceil_mode=True),
            nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(2, dilation=2), nn.LPPool2d(2, 3, 2),
        ))  # fmt: skip
        self.pads = nn.ModuleList((nn.ReflectionPad2d(2), nn.ReplicationPad2d((1, 2, 0, 1)), nn.ZeroPad2d((-1, 2, 1, -2))))

    def forward(self, x):
        y = self.start(x)
        return torch.cat([layer(y).flatten(1) for layer in (*self.pools, *self.pads)], 1)


class Activations(nn.Module):
    """Every activation that torch.nn has with a parameter of its own or none."""

    def __init__(self, width=8):
        super().__init__()
        self.layers = nn.ModuleList((
            nn.ELU(0.7), nn.Hardshrink(0.3), nn.Hardsigmoid(), nn.Hardtanh(-0.5, 0.8), nn.LogSigmoid(), nn.PReLU(width),
            nn.ReLU6(), nn.SELU(), nn.CELU(0.8), nn.GELU(), nn.Mish(), nn.Softplus(2), nn.Softshrink(0.3),
            nn.Softsign(), nn.Tanhshrink(), nn.Threshold(0.0, 0.0), nn.GLU(), nn.Softmin(1), nn.LogSoftmax(1),
        ))  # fmt: skip
        self.mix = nn.ModuleList(nn.Linear(width // 2 if isinstance(layer, nn.GLU) else width, width) for layer in self.layers)

    def forward(self, x):
        for layer, mix in zip(self.layers, self.mix):
            x = x + mix(layer(x))
        return x


class Products(nn.Module):
    """Bilinear forms, products of matrices and vectors, outer products, and a solved triangle of rotations."""

    def __init__(self, width=6):
        super().__init__()
        self.bilinear = nn.Bilinear(width, width, 4)
        self.matrix, self.vector = nn.Parameter(torch.randn(width, width)), nn.Parameter(torch.randn(width))

    def forward(self, a, b):
        y = self.bilinear(a, b) + (a @ self.vector)[:, None] + torch.addmm(b, a, self.matrix, beta=0.5)[:, :4]
        y = y + torch.baddbmm(a[:, :, None], b[:, :, None], self.matrix[None, :1, :1].expand(a.shape[0], 1, 1))[:, 2:, 0]
        y = y + F.cosine_similarity(a, b, dim=1)[:, None] + torch.tensordot(a, self.matrix, dims=1)[:, :4]
        return y + torch.einsum("bi,ij,bj->b", a, self.matrix.tril(), b)[:, None] + torch.outer(a[:, 0], self.vector[:4])


class LateOperators(nn.Module):
    """The layers for which operator sets 21 to 23 have operators of their own: RMS norm, attention, GELU, group norm."""

    def __init__(self, width=16, heads=2):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.norm, self.group = nn.RMSNorm(width), nn.GroupNorm(4, width)
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU("tanh"), nn.Linear(2 * width, width))

    def forward(self, x):
        y = self.norm(x)
        q = self.q(y).unflatten(-1, (self.heads, self.size)).transpose(1, 2)
        k, v = (part.unflatten(-1, (1, self.size)).transpose(1, 2) for part in self.kv(y).chunk(2, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + y.transpose(1, 2).flatten(2)
        return x + self.mlp(self.group(x.transpose(1, 2)).transpose(1, 2))


class ControlFlow(nn.Module):
    """torch.cond and a loop by torch's scan over time."""

    def __init__(self, width=6):
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: self.a(x).relu(), lambda x: self.b(x).tanh(), (x,))


def sequence(width, batch=3, length=8):
    return [torch.randn(batch, length, width)]


def ids(*shape):
    return torch.randint(0, VOCABULARY, shape)


layers = {
    "nn.Transformer with masks": lambda: (Translator(), [ids(3, 7), ids(3, 5)]),
    "scaled_dot_product_attention": lambda: (ScaledDotProduct(), sequence(16)),
    "nn.MultiheadAttention": lambda: (MultiHead(), [*sequence(16, length=5), *sequence(12), *sequence(10)]),
    "last states of LSTM, GRU, RNN": lambda: (LastState(), [torch.randn(3, 6, 8), torch.randn(3, 8)]),
    "EmbeddingBag": lambda: (Bag(), [ids(3, 5), torch.rand(3, 5)]),
    "WaveNet": lambda: (WaveNet(), [torch.randn(3, 1, 40)]),
    "normalizations": lambda: (Normalizations(), [torch.randn(3, 3, 12, 12)]),
    "weight and spectral norm": lambda: (Reparametrized(), [torch.randn(3, 3, 8, 8)]),
    "pixel shuffle, interpolation": lambda: (SuperResolution(), [torch.randn(3, 3, 6, 6)]),
    "spatial transformer": lambda: (Warp(), [torch.randn(3, 3, 8, 8)]),
    "mixture of experts": lambda: (Experts(), sequence(8)),
    "Fourier layers": lambda: (Spectral(), sequence(8)),
    "STFT": lambda: (Spectrogram(), [torch.randn(3, 80)]),
    "transposed convolutions": lambda: (Deconvolutions(), [torch.randn(3, 3, 5, 5)]),
    "unfold and fold": lambda: (Patches(), [torch.randn(3, 3, 6, 8)]),
    "indexing": lambda: (Indexing(), [torch.randn(3, 8, 12), torch.randint(0, 5, (3, 5))]),
    "scans and reductions": lambda: (Scans(), sequence(6, length=5)),
    "KAN": lambda: (KAN(), [torch.randn(5, 4)]),
    "pooling and padding": lambda: (Pools(), [torch.randn(3, 3, 15, 15)]),
    "activations": lambda: (Activations(), [torch.randn(5, 8)]),
    "products": lambda: (Products(), [torch.randn(4, 6), torch.randn(4, 6)]),
    "RMSNorm, grouped queries": lambda: (LateOperators(), sequence(16)),
    "torch.cond": lambda: (ControlFlow(), [torch.randn(4, 6)]),
}
