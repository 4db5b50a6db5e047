"""The command `distil`: compose teacher and student, train the student for a few steps, return its loss."""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
import torch
from omegaconf import DictConfig
from torch.nn import functional

import resnet_factory as rf


@hydra.main(config_path=str(Path(__file__).with_name("conf")), config_name="config", version_base="1.3")
def main(config: DictConfig) -> float:
    """Run one job; what it returns is what an optimising sweeper minimises."""
    try:
        plans = [rf.plan(rf.read(config[key])) for key in ("teacher", "student")]
    except rf.ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    for key, plan in zip(("teacher", "student"), plans, strict=True):
        cost = rf.cost(plan)
        print(f"{key}  {plan.name}  {cost.params:,} parameters  {cost.macs:,} MACs")
    torch.manual_seed(config.seed)
    loss = distilled(*map(rf.build, plans), config)
    print(f"loss {loss:.4f} after {config.steps} steps")
    return loss


def distilled(teacher: torch.nn.Module, student: torch.nn.Module, config: DictConfig) -> float:
    """Train the student on random images, and return the last loss."""
    optimizer = torch.optim.SGD(student.parameters(), lr=config.rate)
    images = torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        wanted = teacher.eval()(images)
    warmth = config.model.temperature
    for _ in range(config.steps):
        found = student(images)
        if config.model.labels == "classes":
            loss = functional.cross_entropy(found, wanted.argmax(1))
        else:
            logs = (functional.log_softmax(logits / warmth, 1) for logits in (found, wanted))
            loss = functional.kl_div(*logs, reduction="batchmean", log_target=True) * warmth**2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    main()
