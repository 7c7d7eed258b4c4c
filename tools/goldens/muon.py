"""Three Muon steps on two small matrices, from the published formula in float64, checked against torch.optim.Muon.

Makes `crates/train/tests/goldens/muon.json`. PyTorch's own optimiser runs its iteration in bfloat16, so that it agrees
only to about one per cent of the step; the float64 run is the truth that the engine must meet.

Made with Python 3.11, torch 2.15.0.

    python tools/goldens/muon.py
"""

import json
import pathlib

import torch

TO = pathlib.Path(__file__).resolve().parents[2] / "crates" / "train" / "tests" / "goldens" / "muon.json"
RATE, DECAY, MOMENTUM, STEPS = 0.02, 0.1, 0.95, 3
A, B, C = 3.4445, -4.7750, 2.0315


def orthogonal(x):
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x.T if tall else x


def run(shape, generator):
    # float32 numbers, so that the engine begins at the same place
    start = torch.randn(shape, generator=generator, dtype=torch.float32).double()
    gradients = [torch.randn(shape, generator=generator, dtype=torch.float32).double() for _ in range(STEPS)]
    p, m = start.clone(), torch.zeros(shape, dtype=torch.float64)
    theirs = torch.nn.Parameter(start.float().clone())
    optimiser = torch.optim.Muon(
        [theirs], lr=RATE, weight_decay=DECAY, momentum=MOMENTUM, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    after = []
    for g in gradients:
        m = m + (1 - MOMENTUM) * (g - m)
        step = orthogonal(g + MOMENTUM * (m - g)) * 0.2 * max(shape) ** 0.5
        p = p * (1 - RATE * DECAY) - RATE * step
        after.append(p.flatten().tolist())
        theirs.grad = g.float()
        optimiser.step()
    moved = (p - start).norm()
    apart = (theirs.detach().double() - p).norm() / moved
    assert apart < 0.02, apart
    return {
        "rows": shape[0], "start": start.flatten().tolist(), "gradients": [g.flatten().tolist() for g in gradients],
        "after": after, "pytorch_bfloat16_apart": apart.item(),
    }


def main():
    generator = torch.Generator().manual_seed(3)
    cases = [run(shape, generator) for shape in [(6, 10), (12, 5), (8, 8)]]
    TO.write_text(json.dumps({
        "made_with": {"torch": torch.__version__.split("+")[0]}, "rate": RATE, "weight_decay": DECAY, "cases": cases,
    }).replace('{"rows"', '\n{"rows"') + "\n")
    print(TO.stat().st_size, [c["pytorch_bfloat16_apart"] for c in cases])


if __name__ == "__main__":
    main()
