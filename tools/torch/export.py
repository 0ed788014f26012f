"""Exports architectures with random weights to ONNX, together with the gradients of PyTorch.

    npm run python -- torch
    ~/.cache/onnx-ire/torch/bin/python tools/torch/export.py FOLDER [NAME ...]

With --transformers, in the environment `language`, exports the models of transformers_models.py instead.

Exports every architecture by both exporters of torch.onnx.export, in evaluation and in training mode, with a dynamic
number of examples. Writes NAME.FORM.onnx, and NAME.FORM.truth.onnx, whose initializers are x/<input>, dy/<output>,
y/<output> and grad/<parameter or input>, the latter two computed in float64, and float32/<parameter or input>, the
gradient as float32 gives it. A form that does not export leaves NAME.FORM.txt with the reason.
"""

import copy
import sys
import warnings
from inspect import signature
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper

FORMS = {
    # optimize=True folds batch normalization into convolutions, also in training mode, and renames transposed weights.
    "dynamo, optimize=False": {"dynamo": True, "optimize": False},
    "dynamo, operator set 23": {"dynamo": True, "optimize": False, "opset_version": 23},
    # Does not fold batch normalization or transpose weights, so parameters keep their names.
    "TorchScript.evaluation": {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False},
    "TorchScript.training": {"training": torch.onnx.TrainingMode.TRAINING, "do_constant_folding": False},
}

# Architectures with layers for which operator set 23 has operators of their own.
LATE = ("ViT", "GPT-2", "Llama", "nn.Transformer with masks", "scaled_dot_product_attention", "RMSNorm, grouped queries")


def without_drawing(model):
    """Disables dropout and stochastic depth, whose random results cannot be compared."""
    for module in model.modules():
        if module.__class__.__name__ in ("Dropout", "StochasticDepth"):
            module.p = 0.0
        elif isinstance(module, (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN, torch.nn.MultiheadAttention)):
            module.dropout = 0.0
    return model


def varied(model):
    """Moves tensors away from initial zeros and ones: the exporter stores equal tensors once, under one of their names."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.min() == parameter.max():
                parameter.add_(0.1 * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return model


def export(path, model, inputs, options):
    names = [f"x{i}" for i in range(len(inputs))]
    batch = {name: {0: "batch"} for name in names}
    shapes = tuple(batch.values())
    takes_any_number = any(each.kind == each.VAR_POSITIONAL for each in signature(model.forward).parameters.values())
    dynamic = {"dynamic_shapes": (shapes,) if takes_any_number else shapes}
    torch.onnx.export(
        copy.deepcopy(model),
        tuple(inputs),
        str(path),
        input_names=names,
        output_names=["y"],
        external_data=False,
        verbose=False,
        **(dynamic if "dynamo" in options else {"dynamo": False, "dynamic_axes": batch}),
        **options,
    )
    return names


def gradients(model, inputs, names, dtype):
    model = copy.deepcopy(model).to(dtype)
    leaves = [x.to(dtype).requires_grad_() if x.is_floating_point() else x for x in inputs]
    y = model(*leaves)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    wrt = dict(model.named_parameters())
    wrt.update({name: x for name, x in zip(names, leaves) if x.is_floating_point()})
    found = torch.autograd.grad((y * dy).sum(), list(wrt.values()), allow_unused=True)
    return y, dy, {name: g for name, g in zip(wrt, found) if g is not None}


def truth(model, inputs, names):
    y, dy, wide = gradients(model, inputs, names, torch.float64)
    _, _, narrow = gradients(model, inputs, names, torch.float32)
    tensors = {f"x/{name}": x for name, x in zip(names, inputs)}
    tensors.update({"y/y": y, "dy/y": dy})
    tensors.update({f"grad/{name}": g for name, g in wide.items()})
    tensors.update({f"float32/{name}": g for name, g in narrow.items()})
    return tensors


def save(path, tensors):
    initializers = [
        numpy_helper.from_array(x.detach().contiguous().numpy(), name) for name, x in tensors.items()
    ]
    graph = onnx.helper.make_graph([], "truth", [], [], initializers)
    onnx.save(onnx.helper.make_model(graph), str(path))


def reason_of(error):
    while error.__cause__:
        error = error.__cause__
    return str(error).strip().split("\n")[0][:200] or type(error).__name__


def main(folder, wanted, architectures):
    folder.mkdir(parents=True, exist_ok=True)
    for name, build in architectures.items():
        if wanted and name not in wanted:
            continue
        for form, options in FORMS.items():
            if options.get("opset_version") and name not in LATE:
                continue
            stem = folder / f"{name}.{form}"
            for suffix in (".onnx", ".truth.onnx", ".txt"):
                Path(f"{stem}{suffix}").unlink(missing_ok=True)
            try:
                torch.manual_seed(0)
                model, inputs = build()
                varied(without_drawing(model)).train(form.endswith("training"))
                names = export(f"{stem}.onnx", model, inputs, options)
                save(f"{stem}.truth.onnx", truth(model, inputs, names))
                print(f"{name} {form}", flush=True)
            except Exception as error:  # passes of the exporter throw arbitrary exceptions
                Path(f"{stem}.onnx").unlink(missing_ok=True)
                reason = reason_of(error)
                Path(f"{stem}.txt").write_text(reason)
                print(f"{name} {form}: {reason}", flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    folder, *wanted = [each for each in sys.argv[1:] if each != "--transformers"]
    if "--transformers" in sys.argv:
        from transformers_models import transformers_models as architectures
    else:
        from architectures import architectures
    main(Path(folder), set(wanted), architectures)
