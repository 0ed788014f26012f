"""Writes test/language/golden/preference.json: losses of answers in pairs and their gradients, by PyTorch in float64.

The formulas are those of the papers, arXiv 2305.18290 and 2403.07691, with operators of PyTorch and its gradients.

    python tools/language/preference.py
"""

import json
import os

import torch
import torch.nn.functional as F

torch.manual_seed(0)
pairs, length, width, vocabulary = 3, 4, 6, 7
beta, label_smoothing, lam = 0.3, 0.1, 0.4
features = torch.randn(2 * pairs, length, width, dtype=torch.float64)
weight = torch.randn(width, vocabulary, dtype=torch.float64, requires_grad=True)
labels = torch.tensor(
    [
        [[-100, 2, 3, 4], [-100, -100, 5, -100]],
        [[1, 2, -100, -100], [1, 0, 6, 6]],
        [[-100, -100, 0, 5], [-100, 0, 0, 5]],
    ]
)
reference = torch.tensor([[-3.0, -2.0], [-7.0, -9.0], [-1.0, -4.0]], dtype=torch.float64)


def log_probabilities(logits):
    """Log-probabilities of the labels, and where they count, [pairs, 2, length]."""
    mask = labels != -100
    targets = labels.masked_fill(~mask, 0).reshape(2 * pairs, length)
    chosen = torch.gather(logits.log_softmax(-1), 2, targets.unsqueeze(2)).squeeze(2)
    return chosen.reshape(pairs, 2, length) * mask, mask


def dpo(logits):
    log_p, _ = log_probabilities(logits)
    chosen, rejected = log_p.sum(-1).unbind(1)
    ref_chosen, ref_rejected = reference.unbind(1)
    ratio = (chosen - rejected) - (ref_chosen - ref_rejected)
    losses = -F.logsigmoid(beta * ratio) * (1 - label_smoothing) - F.logsigmoid(-beta * ratio) * label_smoothing
    return losses.mean()


def orpo(logits):
    log_p, mask = log_probabilities(logits)
    chosen, rejected = (log_p.sum(-1) / mask.sum(-1)).unbind(1)
    log_odds = (chosen - rejected) - (torch.log1p(-torch.exp(chosen)) - torch.log1p(-torch.exp(rejected)))
    return (-chosen - lam * F.logsigmoid(log_odds)).mean()


results = {}
for loss in (dpo, orpo):
    value = loss(features @ weight)
    (gradient,) = torch.autograd.grad(value, weight)
    results[loss.__name__] = {"loss": value.item(), "gradient": gradient.flatten().tolist()}

folder = os.path.join(os.path.dirname(__file__), "../../test/language/golden")
with open(os.path.join(folder, "preference.json"), "w") as file:
    json.dump(
        {
            "features": features.flatten().tolist(),
            "weight": weight.flatten().tolist(),
            "labels": labels.flatten().tolist(),
            "reference": reference.flatten().tolist(),
            **results,
        },
        file,
    )
    file.write("\n")
