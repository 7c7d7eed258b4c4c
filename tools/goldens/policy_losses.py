"""Losses and advantages of reinforcement learning by TRL's own code, for crates/train/tests/reinforce.rs.

    python tools/goldens/policy_losses.py

`_compute_loss` of GRPOTrainer and RLOOTrainer is called on a stand-in whose log-probabilities are given numbers, so that
the gradient by each of them is what autograd says of TRL's formula. Advantages are written out here as both trainers do
before (mean and unbiased deviation of the group plus 1e-4; for dr_grpo no deviation; for RLOO the mean of the others). An
answer that was cut off and is left out has a mask of zeros, as with `mask_truncated_completions`.

TRL has no PPO with a value head any more, so that its cases are the published formulas written out in PyTorch here: advantages by
the recursion of generalised advantage estimation (Schulman et al. 2016), whitened over the round; both clipped losses as in
Schulman et al. 2017 and in TRL's earlier trainer; autograd gives the gradients.

Made with Python 3.11, torch 2.15.0, trl 1.16.0.
"""

import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch
from trl import GRPOTrainer, RLOOTrainer

OUT = Path(__file__).resolve().parents[2] / "crates/train/tests/goldens/policy_losses.json"
LENGTHS = [5, 3, 7, 2, 6, 4, 7, 1]
GROUP, MAX_NEW, LONGEST = 4, 7, max(LENGTHS)


class Accelerator:
    num_processes, sync_gradients = 1, False

    def gather(self, x):
        return x

    def gather_for_metrics(self, x):
        return x

    def reduce(self, x, reduction="sum"):
        return x


def advantages(loss, rewards):
    groups = rewards.view(-1, GROUP)
    if loss == "rloo":
        return (groups - (groups.sum(1, keepdim=True) - groups) / (GROUP - 1)).reshape(-1)
    centred = groups - groups.mean(1, keepdim=True)
    if loss != "dr_grpo":
        centred = centred / (groups.std(1, keepdim=True) + 1e-4)
    return centred.reshape(-1)


def case(name, loss, seed, kl=0.0, low=0.2, high=0.2, move=0.3, leave_out=()):
    gen = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=gen, dtype=torch.float64)
    n = len(LENGTHS)
    own = torch.arange(LONGEST)[None] < torch.tensor(LENGTHS)[:, None]
    keep = torch.tensor([i not in leave_out for i in range(n)])
    mask = (own & keep[:, None]).to(torch.float64)
    logp = (-draw(n, LONGEST).abs() - 0.05).requires_grad_()
    old = logp.detach() + move * draw(n, LONGEST)
    base = logp.detach() + 0.4 * draw(n, LONGEST)
    rewards = draw(n).abs()
    shown = rewards
    if loss == "rloo" and kl:
        shown = rewards - kl * ((old - base) * own).sum(-1)
    adv = advantages(loss, shown)
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (logp, torch.zeros_like(logp), None),
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None,
        importance_sampling_level="token", beta=kl, loss_type=loss, epsilon_low=low, epsilon_high=high,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        use_vllm=False, _entropy_bonus_enabled=False, model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1, max_completion_length=MAX_NEW, accelerator=Accelerator(),
        _metrics={"train": defaultdict(list)},
    )
    ids = torch.zeros(n, LONGEST, dtype=torch.long)
    inputs = dict(
        prompt_ids=ids[:, :1], prompt_mask=ids[:, :1], completion_ids=ids, completion_mask=mask, advantages=adv,
        old_per_token_logps=old, ref_per_token_logps=base, num_items_in_batch=mask.sum(),
        old_logps=(old * mask).sum(1),
    )
    kind = RLOOTrainer if loss == "rloo" else GRPOTrainer
    value = kind._compute_loss(trainer, trainer.model, inputs)
    value.backward()
    rows = lambda x: [x[i, :l].tolist() for i, l in enumerate(LENGTHS)]
    how = dict(loss=loss, samples=GROUP, max_new=MAX_NEW, clip_low=low, clip_high=high, kl=kl)
    how["overlong"] = "mask" if leave_out else "keep"
    return dict(
        name=name, how=how, rewards=shown.tolist(), advantages=adv.tolist(), mask=[int(k) for k in keep],
        logp=rows(logp.detach()), old=rows(old), base=rows(base), loss=value.item(), factors=rows(logp.grad),
    )


def ppo(name, seed, kl=0.05, gamma=1.0, lam=0.95, low=0.2, high=0.2, clip=0.2, weight=0.1, move=0.3):
    gen = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=gen, dtype=torch.float64)
    n = len(LENGTHS)
    own = torch.arange(LONGEST)[None] < torch.tensor(LENGTHS)[:, None]
    logp = (-draw(n, LONGEST).abs() - 0.05).requires_grad_()
    values = draw(n, LONGEST).requires_grad_()
    old, base = logp.detach() + move * draw(n, LONGEST), logp.detach() + 0.4 * draw(n, LONGEST)
    before = (values.detach() + move * draw(n, LONGEST)).to(torch.float32).to(torch.float64)
    old, base = old.to(torch.float32).to(torch.float64), base.to(torch.float32).to(torch.float64)
    rewards = draw(n)
    each = -kl * (old - base) * own
    each[torch.arange(n), torch.tensor(LENGTHS) - 1] += rewards
    advantages, later = torch.zeros_like(each), torch.zeros(n, dtype=torch.float64)
    held = before * own
    for t in reversed(range(LONGEST)):
        following = held[:, t + 1] if t + 1 < LONGEST else torch.zeros(n, dtype=torch.float64)
        later = (each[:, t] + gamma * following - held[:, t] + gamma * lam * later) * own[:, t]
        advantages[:, t] = later
    targets = advantages + held
    mean, deviation = advantages[own].mean(), (advantages[own].var(unbiased=True) + 1e-8).sqrt()
    advantages = (advantages - mean) / deviation
    ratio = (logp - old).exp()
    policy = torch.max(-advantages * ratio, -advantages * ratio.clamp(1 - low, 1 + high))
    bounded = torch.max(torch.min(values, before + clip), before - clip)
    value = 0.5 * torch.max((values - targets) ** 2, (bounded - targets) ** 2)
    loss = policy[own].mean() + weight * value[own].mean()
    loss.backward()
    rows = lambda x: [x[i, :l].tolist() for i, l in enumerate(LENGTHS)]
    how = dict(loss="ppo", samples=GROUP, max_new=MAX_NEW, clip_low=low, clip_high=high, kl=kl)
    how["critic"] = dict(weight=weight, gamma=gamma, clip=clip) | {"lambda": lam}
    return dict(
        name=name, how=how, rewards=rewards.tolist(), each=rows(each), logp=rows(logp.detach()), old=rows(old),
        before=rows(before), values=rows(values.detach()), advantages=rows(advantages), targets=rows(targets),
        loss=loss.item(), factors=rows(logp.grad), value_factors=rows(values.grad),
    )


def main():
    valued = [
        ppo("ppo", 21),
        ppo("ppo, decayed", 22, kl=0.0, gamma=0.97, lam=0.8, high=0.3, weight=0.5),
        ppo("ppo on policy", 23, move=0.0),
    ]
    cases = [
        case("grpo on policy", "grpo", 1, move=0.0),
        case("grpo clipped", "grpo", 2),
        case("grpo held to the base", "grpo", 3, kl=0.1),
        case("dr_grpo", "dr_grpo", 4),
        case("dr_grpo held to the base", "dr_grpo", 5, kl=0.05, high=0.3),
        case("dapo, higher upper clip", "dapo", 6, high=0.28),
        case("dapo, cut answers left out", "dapo", 7, high=0.28, leave_out=(2, 6)),
        case("grpo, a cut answer left out", "grpo", 8, kl=0.02, leave_out=(4,)),
        case("rloo on policy", "rloo", 9, move=0.0),
        case("rloo clipped", "rloo", 10, move=0.1),
        case("rloo, divergence off the reward", "rloo", 11, kl=0.1, move=0.05),
    ]
    OUT.write_text(json.dumps(dict(cases=cases, ppo=valued), indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
