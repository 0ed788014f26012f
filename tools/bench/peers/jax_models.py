"""The models of tools/bench in JAX: functions of the weights, under the names of their ONNX files, and the input.

Maps are [N, H, W, C] and kernels [H, W, I, O], which XLA computes directly on the CPU; `converted` stores kernels so.
"""

import jax.numpy as jnp
from jax import lax, nn


def converted(name, array):
    """A weight as the functions below expect it: kernels of convolutions with the channels last."""
    if array.ndim == 4:
        # Transposed convolutions are the only ones of 2 x 2; theirs are [I, O, H, W].
        return array.transpose(2, 3, 0, 1) if array.shape[2:] == (2, 2) else array.transpose(2, 3, 1, 0)
    return array.transpose(2, 1, 0) if array.ndim == 3 and name.startswith("conv") else array


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def projection(w, name, x):
    y = x @ w[f"{name}.weight"]
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def convolution(w, name, x, stride=1, groups=1):
    kernel = w[f"{name}.weight"]
    axes = ("NHWC", "HWIO", "NHWC") if kernel.ndim == 4 else ("NHC", "HIO", "NHC")
    padding = [((length - 1) // 2,) * 2 for length in kernel.shape[:-2]]
    strides = (stride,) * len(padding)
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=axes, feature_group_count=groups
    )  # fmt: skip


def batch_norm(w, name, x):
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    scale = w[f"{name}.weight"] * lax.rsqrt(variance + 1e-5)
    return (x - mean) * scale + w[f"{name}.bias"]


def max_pool(x, length, stride, pad):
    padding = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, length, length, 1), (1, stride, stride, 1), padding)


def mlp(w, x, sizes):
    y = nn.relu(linear(w, "hidden1", nn.relu(linear(w, "hidden0", x))))
    return linear(w, "head", y)


def residual(stem_stride, depths, convolutions):
    """A residual network whose blocks have two or three convolutions; the stride is in the 3 x 3 one."""

    def run(w, x, sizes):
        y = nn.relu(batch_norm(w, "bn1", convolution(w, "conv1", x, stem_stride)))
        if stem_stride > 1:
            y = max_pool(y, 3, 2, 1)
        for i, depth in enumerate(depths):
            for j in range(depth):
                name, stride = f"layer{i + 1}.{j}", 2 if i > 0 and j == 0 else 1
                past, strided = y, 1 if convolutions == 2 else 2
                if f"{name}.downsample.0.weight" in w:
                    past = batch_norm(w, f"{name}.downsample.1", convolution(w, f"{name}.downsample.0", y, stride))
                for k in range(1, convolutions + 1):
                    y = convolution(w, f"{name}.conv{k}", y, stride if k == strided else 1)
                    y = batch_norm(w, f"{name}.bn{k}", y)
                    y = nn.relu(y) if k < convolutions else nn.relu(y + past)
        return linear(w, "fc", y.mean((1, 2)))

    return run


def mobilenet(w, x, sizes):
    def normed(convolved, norm, y, stride=1, groups=1):
        return batch_norm(w, norm, convolution(w, convolved, y, stride, groups))

    y = nn.relu6(normed("features.0.0", "features.0.1", x, 2))
    index = 1
    for expansion, count, first in ((1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1)):
        for j in range(count):
            name, stride, part, z = f"features.{index}.conv", first if j == 0 else 1, 0, y
            if expansion > 1:
                z, part = nn.relu6(normed(f"{name}.0.0", f"{name}.0.1", z)), 1
            z = nn.relu6(normed(f"{name}.{part}.0", f"{name}.{part}.1", z, stride, z.shape[-1]))
            z = normed(f"{name}.{part + 1}", f"{name}.{part + 2}", z)
            y = y + z if y.shape == z.shape else z
            index += 1
    y = nn.relu6(normed(f"features.{index}.0", f"features.{index}.1", y))
    return linear(w, "classifier.1", y.mean((1, 2)))


def densenet(w, x, sizes):
    y = max_pool(nn.relu(batch_norm(w, "features.norm0", convolution(w, "features.conv0", x, 2))), 3, 2, 1)
    for i, count in enumerate((6, 12, 24, 16)):
        if i > 0:
            name = f"features.transition{i}"
            z = convolution(w, f"{name}.conv", nn.relu(batch_norm(w, f"{name}.norm", y)))
            batch, height, width, channels = z.shape
            y = z.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))
        for j in range(1, count + 1):
            name = f"features.denseblock{i + 1}.denselayer{j}"
            z = convolution(w, f"{name}.conv1", nn.relu(batch_norm(w, f"{name}.norm1", y)))
            z = convolution(w, f"{name}.conv2", nn.relu(batch_norm(w, f"{name}.norm2", z)))
            y = jnp.concatenate((y, z), -1)
    return linear(w, "classifier", nn.relu(batch_norm(w, "features.norm5", y)).mean((1, 2)))


def unet(w, x, sizes):
    def twice(name, y):
        for convolved, norm in (("0", "1"), ("3", "4")):
            y = nn.relu(batch_norm(w, f"{name}.{norm}", convolution(w, f"{name}.{convolved}", y)))
        return y

    def enlarged(name, y):
        kernel = w[f"{name}.weight"]
        batch, height, width, _ = y.shape
        blocks = jnp.einsum("nhwi,klio->nhkwlo", y, kernel)
        return blocks.reshape(batch, 2 * height, 2 * width, -1) + w[f"{name}.bias"]

    a = twice("down1", x)
    b = twice("down2", max_pool(a, 2, 2, 0))
    y = enlarged("up2", twice("middle", max_pool(b, 2, 2, 0)))
    y = enlarged("up1", twice("merge2", jnp.concatenate((y, b), -1)))
    return convolution(w, "out", twice("merge1", jnp.concatenate((y, a), -1))) + w["out.bias"]


def audio(w, x, sizes):
    for i, stride in enumerate((4, 4, 2, 2)):
        x = nn.relu(batch_norm(w, f"bn{i}", convolution(w, f"conv{i}", x, stride)))
    return linear(w, "head", x.mean(1))


def lstm(w, tokens, sizes):
    y = w["embedding.weight"][tokens.T]
    for i in range(2):
        input_weight, recurrent, bias = (w[f"lstm{i}.{part}"][0] for part in "wrb")
        gates = y @ input_weight.T + bias[: len(bias) // 2] + bias[len(bias) // 2 :]

        def cell(state, gate, recurrent=recurrent):
            h, c = state
            i, o, f, g = jnp.split(gate + h @ recurrent.T, 4, -1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((tokens.shape[0], recurrent.shape[1]))
        (last, _), y = lax.scan(cell, (zero, zero), gates)
    return linear(w, "head", last)


def layer_norm(w, name, x, epsilon):
    centered = x - x.mean(-1, keepdims=True)
    variance = (centered**2).mean(-1, keepdims=True)
    return centered * lax.rsqrt(variance + epsilon) * w[f"{name}.weight"] + w[f"{name}.bias"]


def rms_norm(w, name, x):
    return x * lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"]


def attention(w, name, x, heads, causal=False, turn=lambda x: x):
    batch, length, width = x.shape
    split = lambda part: projection(w, f"{name}.{part}", x).reshape(batch, length, heads, width // heads)
    mixed = nn.dot_product_attention(turn(split("query")), turn(split("key")), split("value"), is_causal=causal)
    return projection(w, f"{name}.output", mixed.reshape(batch, length, width))


def vit(w, x, sizes):
    patch = sizes["patch"]
    batch, height, width, channels = x.shape
    pixels = x.reshape(batch, height // patch, patch, width // patch, patch, channels).transpose(0, 1, 3, 2, 4, 5)
    kernel = w["patches.weight"]
    embedded = pixels.reshape(batch, -1, kernel[..., 0].size) @ kernel.reshape(-1, kernel.shape[-1]) + w["patches.bias"]
    token = jnp.broadcast_to(w["token.weight"], (batch, 1, kernel.shape[-1]))
    y = jnp.concatenate((token, embedded), 1) + w["positions.weight"]
    for i in range(sizes["layers"]):
        name = f"block{i}"
        y = y + attention(w, f"{name}.attention", layer_norm(w, f"{name}.norm1", y, 1e-6), sizes["heads"])
        z = nn.gelu(projection(w, f"{name}.mlp.expand", layer_norm(w, f"{name}.norm2", y, 1e-6)), approximate=False)
        y = y + projection(w, f"{name}.mlp.contract", z)
    return projection(w, "head", layer_norm(w, "norm", y[:, 0], 1e-6))


def encoder(w, tokens, sizes):
    y = layer_norm(w, "norm", w["embedding.weight"][tokens] + w["positions.weight"], 1e-5)
    for i in range(sizes["layers"]):
        name = f"block{i}"
        y = layer_norm(w, f"{name}.norm1", y + attention(w, f"{name}.attention", y, sizes["heads"]), 1e-5)
        z = nn.gelu(projection(w, f"{name}.mlp.expand", y), approximate=False)
        y = layer_norm(w, f"{name}.norm2", y + projection(w, f"{name}.mlp.contract", z), 1e-5)
    return projection(w, "head", jnp.tanh(projection(w, "pool", y[:, 0])))


def llama(w, tokens, sizes):
    length, size = tokens.shape[1], w["embedding.weight"].shape[1] // sizes["heads"]
    angles = jnp.outer(jnp.arange(length), 10000.0 ** (-jnp.arange(0, size, 2) / size))
    cos, sin = (jnp.tile(f(angles), (1, 2))[:, None] for f in (jnp.cos, jnp.sin))

    def turn(x):
        a, b = jnp.split(x, 2, -1)
        return x * cos + jnp.concatenate((-b, a), -1) * sin

    y = w["embedding.weight"][tokens]
    for i in range(sizes["layers"]):
        name = f"block{i}"
        y = y + attention(w, f"{name}.attention", rms_norm(w, f"{name}.norm1", y), sizes["heads"], True, turn)
        z = rms_norm(w, f"{name}.norm2", y)
        z = nn.silu(projection(w, f"{name}.mlp.gate", z)) * projection(w, f"{name}.mlp.up", z)
        y = y + projection(w, f"{name}.mlp.down", z)
    return projection(w, "head", rms_norm(w, "norm", y))


models = {
    "mlp": mlp,
    "mlp-130m": mlp,
    "resnet": residual(1, (2, 2, 2, 2), 2),
    "resnet50": residual(2, (3, 4, 6, 3), 3),
    "mobilenet": mobilenet,
    "densenet": densenet,
    "unet": unet,
    "audio": audio,
    "lstm": lstm,
    "vit": vit,
    "encoder": encoder,
    "llama": llama,
}
