"""The contender of PyTorch: torch_peer.py FOLDER THREADS, with the protocol of protocol.ts."""

import json
import resource
import sys
import time
from pathlib import Path

import numpy
import torch
from torch import nn
from torch.nn import functional as F

from torch_models import models, transposed

folder, threads = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
problem = json.loads((folder / "problem.json").read_text())
stored = (folder / "tensors.bin").read_bytes()


def tensor(location):
    count = int(numpy.prod(location["dims"]))
    array = numpy.frombuffer(stored, location["dtype"], count, location["offset"])
    return torch.from_numpy(array.reshape(location["dims"]).copy())


def load(model):
    weights = {name: tensor(location) for name, location in problem["weights"].items()}
    if problem["model"] in transposed:
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                weights[f"{name}.weight"] = weights[f"{name}.weight"].t().contiguous()
    absent = model.load_state_dict(weights, strict=False)
    assert not absent.unexpected_keys and all("num_batches" in key for key in absent.missing_keys), absent
    assert sorted(name for name, _ in model.named_parameters()) == sorted(problem["trained"])


def send(message):
    print(json.dumps(message), flush=True)


def blas():
    """Returns the name of the loaded library of matrix products."""
    loaded = {Path(line.split()[-1]).resolve() for line in open("/proc/self/maps") if "blas" in line}
    return "OpenBLAS" if any("openblas" in str(path) for path in loaded) else "reference BLAS" if loaded else "built-in BLAS"


model = models[problem["model"]](**problem["sizes"])
load(model)
model.train()
options = problem["adamw"]
optimizer = torch.optim.AdamW(
    model.parameters(), lr=options["lr"], betas=options["betas"], eps=options["eps"], weight_decay=options["weightDecay"]
)
batches = [{name: tensor(location) for name, location in batch.items()} for batch in problem["batches"]]
done = 0


def step():
    global done
    batch = dict(batches[done % len(batches)])
    labels = batch.pop("labels")
    logits = model(*batch.values())
    loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    done += 1
    return loss.item()


send({
    "about": f"PyTorch {torch.__version__}, cpu, {torch.get_num_threads()} threads, eager, {blas()}",
    "parameters": sum(x.numel() for x in model.parameters()),
})  # fmt: skip
for line in sys.stdin:
    started, computed = time.perf_counter(), time.process_time()
    losses = [step() for _ in range(json.loads(line)["steps"])]
    seconds, cpu = time.perf_counter() - started, time.process_time() - computed
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    send({"seconds": seconds, "cpu": cpu, "losses": losses, "peak": peak})
