"""The contenders of PyTorch: torch_peer.py FOLDER THREADS eager|compiled cpu|cuda, with the protocol of protocol.ts.

PyTorch gets the fastest of its settings: memory format, attention and AdamW's implementation are tried first, each in a
process of its own, so that neither time nor memory of the trials counts.
"""

import itertools
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import fastest_mkl  # before PyTorch, which loads MKL
import numpy
import torch
from torch import nn
from torch.nn import functional as F

from torch_models import Attention, converted, models

# Before PyTorch's threads start, which take it over: products with subnormal moments would be slow.
torch.set_flush_denormal(True)
folder, threads, mode, device = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
torch.set_num_threads(threads)
problem = json.loads((folder / "problem.json").read_text())

formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
implementations = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}


def tensor(location):
    count = int(numpy.prod(location["dims"]))
    array = numpy.fromfile(folder / "tensors.bin", location["dtype"], count, offset=location["offset"])
    return torch.from_numpy(array.reshape(location["dims"]))


def build():
    model = models[problem["model"]](**problem["sizes"])
    weights = {name: tensor(location) for name, location in problem["weights"].items()}
    absent = model.load_state_dict(converted(problem["model"], model, weights), strict=False)
    assert not absent.unexpected_keys and all("num_batches" in key for key in absent.missing_keys), absent
    count = sum(numpy.prod(problem["weights"][name]["dims"]) for name in problem["trained"])
    assert sum(x.numel() for x in model.parameters()) == count, "other parameters are trained"
    return model.train()


def adamw(model, implementation):
    options = problem["adamw"]
    return torch.optim.AdamW(
        model.parameters(),
        lr=options["lr"],
        betas=options["betas"],
        eps=options["eps"],
        weight_decay=options["weightDecay"],
        **implementations[implementation],
    )


class Training:
    def __init__(self, settings):
        Attention.fused = settings["attention"] == "fused"
        self.format = formats[settings["format"]]
        self.model = build().to(device, memory_format=self.format)
        self.optimizer = adamw(self.model, settings["adamw"])
        self.loss = torch.compile(self.loss_of, dynamic=False) if mode == "compiled" else self.loss_of
        self.batches = [{name: self.laid_out(tensor(place).to(device)) for name, place in batch.items()} for batch in problem["batches"]]
        self.done = 0

    def laid_out(self, x):
        return x.contiguous(memory_format=self.format) if x.dim() == 4 else x

    def loss_of(self, x, labels):
        logits = self.model(x)
        if problem["classAxis"] == 1:
            return F.cross_entropy(logits, labels)
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))

    def gradients(self):
        batch = dict(self.batches[self.done % len(self.batches)])
        labels = batch.pop("labels")
        loss = self.loss(*batch.values(), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.done += 1
        return loss

    def step(self):
        loss = self.gradients()
        self.optimizer.step()
        return loss.item()


def wait():
    """Waits until the GPU has finished."""
    if device == "cuda":
        torch.cuda.synchronize()


def fastest(run, seconds=2.0):
    """Least duration of a call after the first two, of at least two and at most seven."""
    run(), run()
    wait()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 2 or (len(times) < 7 and time.perf_counter() < end):
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return min(times)


def try_settings(settings):
    """Seconds per forward and backward pass, and per update for each implementation of AdamW."""
    training = Training(settings)
    seconds = fastest(training.gradients)
    updates = {name: fastest(adamw(training.model, name).step, 1.0) for name in implementations}
    print(json.dumps({"gradients": seconds, "updates": updates}))


def choose():
    """The fastest settings, and the kinds of layers for which there was a choice."""
    with torch.device("meta"):
        model = models[problem["model"]](**problem["sizes"])
    has = lambda kind: any(isinstance(module, kind) for module in model.modules())
    candidates = [
        {"format": form, "attention": attention, "adamw": "fused"}
        for form, attention in itertools.product(
            formats if has(nn.BatchNorm2d) else ["contiguous"], ["fused", "explicit"] if has(Attention) else ["explicit"]
        )
    ]
    tried = []
    for settings in candidates:
        command = [sys.executable, *sys.argv, json.dumps(settings)]
        trial = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if trial.returncode == 0:
            tried.append({**settings, **json.loads(trial.stdout.splitlines()[-1])})
    if not tried:
        sys.exit("no settings train the model")
    best = min(tried, key=lambda each: each["gradients"])
    best["adamw"] = min(best["updates"], key=best["updates"].get)
    del best["updates"], best["gradients"]
    return best, {"batch norm": has(nn.BatchNorm2d), "attention": has(Attention)}


def kernels():
    """Libraries and instruction set of the kernels, from PyTorch's description of its build."""
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    text = torch.__config__.show()
    version = lambda pattern: (re.search(pattern, text) or [None, "none"])[1]
    mkl, onednn = version(r"Math Kernel Library Version ([\d.]+)"), version(r"MKL-DNN v(\S+)")
    return f"{torch.backends.cpu.get_cpu_capability()}, MKL {mkl}{fastest_mkl.kernels}, oneDNN {onednn}"


def resident():
    """Resident memory of this process in bytes, or None on a system without /proc."""
    try:
        return int(re.search(r"VmRSS:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    except OSError:
        return None


def send(message):
    print(json.dumps(message), flush=True)


def main():
    loaded = resident()
    settings, has = choose()
    training = Training(settings)
    chosen = [
        *([settings["format"]] if has["batch norm"] else []),
        *([f"{settings['attention']} attention"] if has["attention"] else []),
        f"AdamW {settings['adamw']}",
    ]
    send({
        "about": f"PyTorch {torch.__version__}, {device}, {torch.get_num_threads()} threads, {mode}; {', '.join(chosen)}; {kernels()}",
        "build": torch.__config__.show(),
        "loaded": loaded,
        "parameters": sum(x.numel() for x in training.model.parameters()),
    })  # fmt: skip
    for line in sys.stdin:
        started, computed = time.perf_counter(), time.process_time()
        losses = [training.step() for _ in range(json.loads(line)["steps"])]
        seconds, cpu = time.perf_counter() - started, time.process_time() - computed
        send({"seconds": seconds, "cpu": cpu, "losses": losses})


if len(sys.argv) > 5:
    try_settings(json.loads(sys.argv[5]))
else:
    main()
