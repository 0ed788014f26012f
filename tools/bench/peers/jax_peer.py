"""The contender of JAX: jax_peer.py FOLDER, with the protocol of protocol.ts. A step is one compiled function."""

import json
import re
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy

from jax_models import converted, models

folder = Path(sys.argv[1])
problem = json.loads((folder / "problem.json").read_text())
model, sizes = models[problem["model"]], problem["sizes"]
options = problem["adamw"]
lr, (beta1, beta2), eps, decay = options["lr"], options["betas"], options["eps"], options["weightDecay"]


def resident():
    """Resident memory of this process in bytes, or None on a system without /proc."""
    try:
        return int(re.search(r"VmRSS:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    except OSError:
        return None


def array(location):
    count = int(numpy.prod(location["dims"]))
    values = numpy.fromfile(folder / "tensors.bin", location["dtype"], count, offset=location["offset"])
    values = values.reshape(location["dims"])
    return values.astype(numpy.int32) if location["dtype"] == "int64" else values


def fed(x):
    """An input with the channels last; labels and tokens as they are."""
    return jnp.asarray(numpy.moveaxis(x, 1, -1) if x.dtype == numpy.float32 and x.ndim > 2 else x)


def loss_of(weights, x, labels):
    logits = model(weights, x, sizes)
    log_p = jax.nn.log_softmax(logits.reshape(-1, logits.shape[-1]))
    return -jnp.take_along_axis(log_p, labels.reshape(-1, 1), 1).mean()


def adamw(w, m, v, g, t):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    moved = (lr / (1 - beta1**t)) * m / (jnp.sqrt(v / (1 - beta2**t)) + eps)
    return w * (1 - lr * decay) - moved, m, v


def update(weights, first, second, t, x, labels):
    loss, gradients = jax.value_and_grad(loss_of)(weights, x, labels)
    moved = {name: adamw(weights[name], first[name], second[name], gradients[name], t) for name in weights}
    return loss, *({name: each[i] for name, each in moved.items()} for i in range(3))


step = jax.jit(update, donate_argnums=(0, 1, 2))
loaded = resident()
weights = {name: jnp.array(converted(name, array(problem["weights"][name]))) for name in problem["trained"]}
state = [weights, *(jax.tree.map(jnp.zeros_like, weights) for _ in range(2))]
batches = [{name: fed(array(place)) for name, place in batch.items()} for batch in problem["batches"]]
parameters = sum(x.size for x in weights.values())
del weights
done = 0


def take_step():
    global state, done
    batch = dict(batches[done % len(batches)])
    labels = batch.pop("labels")
    done += 1
    loss, *state = step(*state, jnp.float32(done), *batch.values(), labels)
    return float(loss)


def send(message):
    print(json.dumps(message), flush=True)


send({"about": f"JAX {jax.__version__}, cpu, jit, channels last, donated buffers", "loaded": loaded, "parameters": parameters})
for line in sys.stdin:
    started, computed = time.perf_counter(), time.process_time()
    losses = [take_step() for _ in range(json.loads(line)["steps"])]
    seconds, cpu = time.perf_counter() - started, time.process_time() - computed
    send({"seconds": seconds, "cpu": cpu, "losses": losses})
