"""The process group that trains a network: this process alone, or all that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from resnet_factory.study.processes import is_torchrun_process

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those that train together. Alone, every method is the identity."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Return whether this is the process that writes and prints."""
        return self.rank == 0

    def wrap(self, network: nn.Module, *, sync_batch_norm: bool) -> nn.Module:
        """Return the module to train, whose gradients are means over all processes."""
        if self.size == 1:
            return network
        if sync_batch_norm:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(network)

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum the tensors of all processes, in place."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def any_process(self, flag: bool) -> bool:
        """Return whether any process has the flag set."""
        return (
            bool(self.all_reduce(torch.tensor(float(flag), device=self.device)) > 0)
            if self.size > 1
            else flag
        )

    def broadcast(self, value: ValueT) -> ValueT:
        """Return the value of the main process."""
        if self.size == 1:
            return value
        box: list[Any] = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[no-any-return]

    def broadcast_buffers(self, network: nn.Module) -> None:
        """Copy the buffers of the main process, as running statistics differ between processes."""
        if self.size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, src=0)

    def shard(self, items: Tensor) -> Tensor:
        """Return this process's equal share of a tensor."""
        return items.chunk(self.size)[self.rank] if self.size > 1 else items


def find_training_device(wanted: str) -> torch.device:
    """Return the device of that name; `auto` is a GPU if there is one.

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


def parallel_trainings(wanted: str, threads: int) -> int:
    """Return how many trainings of `threads` threads fit: one on each GPU, or on all cores.

    Raises:
        RuntimeError: there is no such device here.
    """
    here = find_training_device(wanted)
    if str(here) == "cuda":
        return torch.cuda.device_count()
    if here.type != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


@contextmanager
def process_group(wanted: str, slot: int = 0) -> Iterator[ProcessGroup]:
    """Join the process group of torchrun, if it started this process; else this process alone.

    `slot` distributes processes that train different networks over the GPUs.
    """
    here, local = (
        find_training_device(wanted),
        int(os.environ["LOCAL_RANK"]) if is_torchrun_process() else slot,
    )
    if here.type == "cuda" and (is_torchrun_process() or here.index is None):
        here = torch.device("cuda", local % torch.cuda.device_count())
    if not is_torchrun_process():
        yield ProcessGroup(here)
        return
    if here.type == "cuda":
        torch.cuda.set_device(here)
    distributed.init_process_group("nccl" if here.type == "cuda" else "gloo")
    try:
        yield ProcessGroup(here, distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
