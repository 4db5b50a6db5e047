"""A network as a function of images: as each runtime runs it, and as one step of its training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet_factory.network.folding import fold
from resnet_factory.network.network import Network
from resnet_factory.network.runtimes.choices import COMPILED, EAGER, EXPORTED_RUNTIMES, FOLDED, TRAINING
from resnet_factory.network.runtimes.export import export_program
from resnet_factory.network.runtimes.formats import FORMATS
from resnet_factory.network.runtimes.program import outputs_as_tuple

Runnable = Callable[[Tensor], object]
TRAINING_RATE = 1e-3
"""The learning rate of the training step."""


def torch_dtype(name: str) -> torch.dtype:
    """Return torch's number type of a name."""
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def runnable(
    network: Network,
    runtime: str,
    *,
    image: tuple[int, ...],
    folder: Path,
    dtype: str = "float32",
    device: str = "cpu",
    threads: int | None = None,
    step: str = "inference",
    layout: torch.memory_format | None = None,
) -> Runnable:
    """Return a function of (N, *image) images that runs a copy of a network, given in evaluation mode.

    Runtimes that read a file get one in `folder`, which holds nothing else; `step` is one of choices.STEPS.

    Raises:
        ConfigError: the runtime is not installed, or cannot run the network.
    """
    if runtime in EXPORTED_RUNTIMES:
        form = FORMATS[EXPORTED_RUNTIMES[runtime]]
        file = folder / f"network{form.kind.endings[0]}"
        export_program(network, file, EXPORTED_RUNTIMES[runtime], image=image, dynamic="batch")
        return form.read(file, threads)
    if step == TRAINING:
        return training_step(network, runtime, dtype, device)
    module = torch_module(network, runtime, dtype, device)
    return module if layout is None else module.to(memory_format=layout)  # type: ignore[call-overload]


def torch_module(network: Network, runtime: str, dtype: str, device: str) -> nn.Module:
    """Return a copy of a network as one of torch's runtimes runs it."""
    made = copy.deepcopy(network) if runtime == EAGER else fold(network, in_place=runtime == FOLDED)
    made = made.to(device, torch_dtype(dtype))
    return compiled_module(made) if runtime == COMPILED else made


def compiled_module(module: nn.Module) -> nn.Module:
    """Return a module compiled for images of one shape."""
    compiled = torch.compile(module, dynamic=False)
    assert isinstance(compiled, nn.Module)
    return compiled


def training_step(network: Network, runtime: str, dtype: str, device: str) -> Runnable:
    """Return a step of training of a copy: forward and backward of the mean of squared outputs, and SGD."""
    module: nn.Module = copy.deepcopy(network).to(device, torch_dtype(dtype)).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=TRAINING_RATE)
    called = compiled_module(module) if runtime == COMPILED else module

    def step(images: Tensor) -> None:
        with torch.enable_grad():
            loss = torch.stack([output.square().mean() for output in outputs_as_tuple(called(images))]).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            # At the end, so that a step's memory holds the gradients, and what is between steps does not.
            optimizer.zero_grad(set_to_none=True)

    return step
