"""Steps of schedule-free AdamW on a short vector, from the published algorithm in float64.

Makes `crates/train/tests/goldens/schedule_free.json`. The three points of the paper (Defazio et al. 2024, algorithm 1)
are kept apart here, and the gradients come from a loss at `y` by autograd; the engine keeps two points and derives the third.

Made with Python 3.11, torch 2.15.0.

    python tools/goldens/schedule_free.py
"""

import json
import pathlib

import torch

TO = pathlib.Path(__file__).resolve().parents[2] / "crates" / "train" / "tests" / "goldens" / "schedule_free.json"
STEPS, SIZE, RATE, WARMUP = 12, 7, 0.05, 4


def run(generator, beta1, beta2, eps, decay):
    start = torch.randn(SIZE, generator=generator, dtype=torch.float32).double()
    goal = torch.randn(SIZE, generator=generator, dtype=torch.float64)
    z, x, v = start.clone(), start.clone(), torch.zeros(SIZE, dtype=torch.float64)
    squares, steps = 0.0, []
    for t in range(1, STEPS + 1):
        y = ((1 - beta1) * z + beta1 * x).requires_grad_()
        loss = ((y - goal) ** 4).mean() + 0.3 * torch.sin(3 * y).sum()
        (g,) = torch.autograd.grad(loss, y)
        # float32 numbers, so that the engine is given the same ones
        g, y = g.float().double(), y.detach()
        v = beta2 * v + (1 - beta2) * g * g
        # the warm-up of the engine: step s of w has s / (w + 1)
        rate = RATE * min(1.0, t / (WARMUP + 1))
        gamma = rate * (1 - beta2**t) ** 0.5
        z = z - gamma * g / (v.sqrt() + eps) - gamma * decay * y
        squares += gamma**2
        c = gamma**2 / squares
        x = (1 - c) * x + c * z
        after = (1 - beta1) * z + beta1 * x
        steps.append({
            "rate": rate, "gradient": g.tolist(), "x": x.tolist(), "y": after.tolist(), "z": z.tolist(),
        })
    return {"beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": decay, "start": start.tolist(), "steps": steps}


def main():
    generator = torch.Generator().manual_seed(5)
    cases = [run(generator, 0.9, 0.999, 1e-8, 0.0), run(generator, 0.95, 0.99, 1e-6, 0.1)]
    made = {"made_with": {"torch": torch.__version__.split("+")[0]}, "cases": cases}
    TO.write_text(json.dumps(made).replace('{"rate"', '\n{"rate"') + "\n")
    print(TO.stat().st_size)


if __name__ == "__main__":
    main()
