"""The processes that train one network together: one, or as many as torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from resnet_factory.study.processes import torchrun

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among its peers. Alone, every method is the identity."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def wrap(self, network: nn.Module, *, sync_batch_norm: bool) -> nn.Module:
        """The module to train with: gradients are means over all processes."""
        if self.size == 1:
            return network
        if sync_batch_norm:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(network)

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of everyone's `tensor`, in place."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def anyone(self, flag: bool) -> bool:
        """Whether any process says so."""
        return bool(self.total(torch.tensor(float(flag), device=self.device)) > 0) if self.size > 1 else flag

    def share(self, value: T) -> T:
        """What the first process has."""
        if self.size == 1:
            return value
        box: list[Any] = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[no-any-return]

    def agree(self, network: nn.Module) -> None:
        """Give everyone the first process's buffers: running statistics differ by what each has seen."""
        if self.size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, src=0)

    def part(self, items: Tensor) -> Tensor:
        """This process's equal share of something that divides evenly."""
        return items.chunk(self.size)[self.rank] if self.size > 1 else items


def device(wanted: str) -> torch.device:
    """The device of that name; `auto` is a GPU where there is one.

    Raises:
        RuntimeError: there is no such device here.
    """
    if wanted == "auto":
        wanted = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        torch.empty(0, device=wanted)
    except (AssertionError, NotImplementedError) as error:  # how torch says that it was built without
        raise RuntimeError(str(error)) from None
    return torch.device(wanted)


def room(wanted: str, threads: int) -> int:
    """How many trainings of `threads` threads there is room for: one on each GPU, or one on each core.

    Raises:
        RuntimeError: there is no such device here.
    """
    here = device(wanted)
    if str(here) == "cuda":
        return torch.cuda.device_count()
    if here.type != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many: sums come out the same only for the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def joined(wanted: str, slot: int = 0) -> Iterator[World]:
    """This process's world: torchrun's where it started us, else this process alone.

    `slot` spreads processes that train different networks over the GPUs.
    """
    if not torchrun():
        here = device(wanted)
        if str(here) == "cuda":
            here = torch.device("cuda", slot % torch.cuda.device_count())
        yield World(here)
        return
    here = device(wanted)
    if here.type == "cuda":
        here = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(here)
    distributed.init_process_group("nccl" if here.type == "cuda" else "gloo")
    try:
        yield World(here, distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
