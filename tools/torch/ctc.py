"""Values and gradients of PyTorch's ctc_loss, which test/loss/ctc.test.ts compares with.

    npm run python -- torch
    ~/.cache/onnx-ire/torch/bin/python tools/torch/ctc.py > test/loss/ctc-of-torch.json
"""

import json

import torch

torch.manual_seed(3)


def case(name, steps, classes, blank, labels, input_lengths):
    logits = torch.randn(steps, len(labels), classes, dtype=torch.float64).mul_(1.5).round(decimals=4).requires_grad_()
    lengths = [len(each) for each in labels]
    padded = torch.tensor([each + [blank] * (max(lengths) - len(each)) for each in labels], dtype=torch.long)
    losses = torch.nn.functional.ctc_loss(
        logits.log_softmax(2),
        padded,
        torch.tensor(input_lengths),
        torch.tensor(lengths),
        blank=blank,
        reduction="none",
        zero_infinity=True,
    )
    losses.sum().backward()
    rounded = lambda tensor: [round(value, 9) for value in tensor.flatten().tolist()]
    return {
        "name": name,
        "steps": steps,
        "classes": classes,
        "blank": blank,
        "labels": padded.tolist(),
        "inputLengths": input_lengths,
        "targetLengths": lengths,
        # [T, N, C]
        "logits": rounded(logits.detach()),
        "losses": rounded(losses.detach()),
        # Of the sum of the losses.
        "gradient": rounded(logits.grad),
    }


cases = [
    case("labels of one length", 6, 4, 0, [[1, 2, 3], [3, 1, 2]], [6, 6]),
    case("repeated labels, other lengths", 9, 4, 0, [[1, 1, 2, 2], [3], [2, 3, 2]], [9, 4, 7]),
    case("the blank is the last class", 7, 5, 4, [[0, 1, 0], [2, 2]], [7, 5]),
    case("a target without labels", 5, 3, 0, [[], [1, 2], []], [5, 5, 2]),
    case("more labels than steps", 4, 3, 0, [[1, 1, 1], [1, 2], [1, 2, 1, 2]], [4, 4, 3]),
    case("exactly as many steps as needed", 5, 3, 0, [[1, 1, 2, 1], [2, 2, 2]], [5, 5]),
]
print("[\n" + ",\n".join(json.dumps(each) for each in cases) + "\n]")
