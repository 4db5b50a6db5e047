"""A job's recipe as torch's optimiser and schedules."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR

from resnet_factory.study.jobs import Job


def make_optimizer(job: Job, network: nn.Module) -> Optimizer:
    """Torch's optimiser; AdamW takes the momentum as its first beta."""
    train = job.train
    if train.optimizer == "adamw":
        betas = (train.momentum, 0.999)
        return AdamW(network.parameters(), lr=job.rate, betas=betas, weight_decay=train.weight_decay)
    return SGD(network.parameters(), lr=job.rate, momentum=train.momentum, weight_decay=train.weight_decay)


def make_schedules(job: Job, optimizer: Optimizer, total: int) -> list[LRScheduler]:
    """What moves the learning rate, one step an iteration; each multiplies what the others say."""
    train = job.train
    schedules: list[LRScheduler] = []
    if train.schedule == "one_cycle":
        schedules.append(OneCycleLR(optimizer, job.rate, total_steps=total, cycle_momentum=False))
    elif train.schedule == "cosine":
        schedules.append(CosineAnnealingLR(optimizer, total))
    elif train.schedule == "steps":
        schedules.append(MultiStepLR(optimizer, [round(share * total) for share in train.milestones], 0.1))
    if train.warmup:
        schedules.append(ConstantLR(optimizer, 0.1, train.warmup))
    return schedules
