"""Runs a gradient model in float64, where onnxruntime has no convolution: `float64.py MODEL FEEDS RESULTS`.

FEEDS and RESULTS are models whose initializers are the tensors. The evaluator is onnx's reference implementation, with
convolutions, pooling and batch normalization by PyTorch and NumPy.
"""

import sys

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch.nn import functional as F


def tensor(array):
    return torch.from_numpy(np.array(array))


def padded(x, begin, end):
    """Pads the axes after the first two by zeros; negative numbers crop."""
    both = [n for pair in reversed(list(zip(begin, end))) for n in pair]
    return F.pad(x, both) if any(both) else x


def explicit(auto_pad):
    if auto_pad not in (None, "", "NOTSET"):
        raise NotImplementedError(f"auto_pad={auto_pad}")


class Conv(OpRun):
    op_domain = ""

    def _run(self, x, w, b=None, auto_pad=None, dilations=None, group=None, kernel_shape=None, pads=None, strides=None):
        explicit(auto_pad)
        axes = x.ndim - 2
        pads = pads or [0] * 2 * axes
        run = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
        bias = None if b is None else tensor(b)
        x = padded(tensor(x), pads[:axes], pads[axes:])
        return (run(x, tensor(w), bias, strides or 1, 0, dilations or 1, group or 1).numpy(),)


class ConvTranspose(OpRun):
    op_domain = ""

    def _run(self, x, w, b=None, auto_pad=None, dilations=None, group=None, kernel_shape=None, output_padding=None,
             output_shape=None, pads=None, strides=None):  # fmt: skip
        explicit(auto_pad)
        if output_shape:
            raise NotImplementedError("output_shape")
        axes = x.ndim - 2
        pads = pads or [0] * 2 * axes
        run = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[axes - 1]
        y = run(tensor(x), tensor(w), None, strides or 1, 0, 0, group or 1, dilations or 1)
        more = output_padding or [0] * axes
        y = padded(y, [-n for n in pads[:axes]], [m - n for m, n in zip(more, pads[axes:])])
        return ((y if b is None else y + tensor(b).reshape(1, -1, *[1] * axes)).numpy(),)


class MaxPool(OpRun):
    op_domain = ""

    def _run(self, x, auto_pad=None, ceil_mode=None, dilations=None, kernel_shape=None, pads=None, storage_order=None,
             strides=None):  # fmt: skip
        explicit(auto_pad)
        axes = x.ndim - 2
        pads = pads or [0] * 2 * axes
        if storage_order or list(pads[:axes]) != list(pads[axes:]):
            raise NotImplementedError("storage_order, or other padding at the end than at the start")
        run = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes - 1]
        y, at = run(tensor(x), list(kernel_shape), list(strides or [1] * axes), list(pads[:axes]),
                    list(dilations or [1] * axes), bool(ceil_mode), True)  # fmt: skip
        # ONNX counts positions in the whole tensor, PyTorch in each channel.
        channels = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * axes)
        return y.numpy(), at.numpy() + channels * int(np.prod(x.shape[2:]))


class BatchNormalization(OpRun):
    op_domain = ""

    def _run(self, x, scale, bias, mean, var, epsilon=None, momentum=None, training_mode=None):
        channel = [1, -1] + [1] * (x.ndim - 2)
        axes = tuple(i for i in range(x.ndim) if i != 1)
        m, v = (x.mean(axes), x.var(axes)) if training_mode else (mean, var)
        y = (x - m.reshape(channel)) / np.sqrt(v.reshape(channel) + epsilon)
        y = y * scale.reshape(channel) + bias.reshape(channel)
        if not training_mode:
            return (y,)
        return y, mean * momentum + m * (1 - momentum), var * momentum + v * (1 - momentum)


def main(model, feeds, results):
    run = ReferenceEvaluator(onnx.load(model), new_ops=[Conv, ConvTranspose, MaxPool, BatchNormalization])
    tensors = {x.name: numpy_helper.to_array(x) for x in onnx.load(feeds).graph.initializer}
    found = run.run(None, {name: tensors[name] for name in run.input_names})
    initializers = [numpy_helper.from_array(np.asarray(x), name) for name, x in zip(run.output_names, found)]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "results", [], [], initializers)), results)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
