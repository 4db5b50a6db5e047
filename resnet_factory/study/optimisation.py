"""Torch's optimiser and learning rate schedules of a job."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR

from resnet_factory.study.jobs import StudyJob


def make_optimizer(job: StudyJob, network: nn.Module) -> Optimizer:
    """Return torch's optimiser; the momentum is the first beta of AdamW."""
    train = job.train
    if train.optimizer == "adamw":
        betas = (train.momentum, 0.999)
        return AdamW(network.parameters(), lr=job.rate, betas=betas, weight_decay=train.weight_decay)
    return SGD(network.parameters(), lr=job.rate, momentum=train.momentum, weight_decay=train.weight_decay)


def make_schedules(job: StudyJob, optimizer: Optimizer, total: int) -> list[LRScheduler]:
    """Return torch's schedules of the learning rate, with one step per iteration; they multiply.

    A warm-up is the rising part of one-cycle (Smith & Topin 2018); other schedules begin with a tenth of the
    learning rate (He et al. 2015, section 4.2).

    Raises:
        ValueError: the rise of one-cycle is as long as the training.
    """
    train = job.train
    schedules: list[LRScheduler] = []
    if train.schedule == "one_cycle":
        if train.warmup >= total:
            raise ValueError(f"a warm-up of {train.warmup} iterations, but the training has {total}")
        rise = train.warmup / total if train.warmup else 0.3
        schedules.append(
            OneCycleLR(optimizer, job.rate, total_steps=total, pct_start=rise, cycle_momentum=False)
        )
    elif train.schedule == "cosine":
        schedules.append(CosineAnnealingLR(optimizer, total))
    elif train.schedule == "steps":
        schedules.append(MultiStepLR(optimizer, [round(share * total) for share in train.milestones], 0.1))
    if train.warmup and train.schedule != "one_cycle":
        schedules.append(ConstantLR(optimizer, 0.1, train.warmup))
    return schedules
