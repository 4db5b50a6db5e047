"""Memory: a simulation of a plan's forward and backward pass that counts the bytes alive at each step.

The model follows PyTorch's eager execution of the built module:

- No operation is in place. A layer's output is allocated in addition to its input; flatten, identity, and
  dropout in evaluation mode, return the input itself.
- A map is freed after its last use: its last reader has run, and the stage and the block whose input it
  is have returned (a module's caller holds the arguments until the call returns). The image is held by
  the caller throughout.
- In training, the tensors needed by the backward pass are saved: the input of convolution, linear, norm
  and pooling layers and of most activations, the output of ReLU, sigmoid and tanh, both factors of a
  product, max-pool's indices and dropout's masks. A map that two layers need is saved once.
- The backward pass runs the layers in reverse. Each needs the gradient of its output, allocates those of
  its input and weights, and then frees its saved tensors. Gradients of weights stay.
- Kernel workspaces, the allocator's rounding and the optimiser's state are not counted: SGD with
  momentum adds the size of the weights once, Adam twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from resnet_factory.costing.memory_simulation import MemorySimulation
from resnet_factory.errors import ConfigError, Fault, unknown
from resnet_factory.planning.network_plan import Plan

DTYPES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes per element."""
MAX_BATCH = 2**20


class MemoryUse(NamedTuple):
    """Memory of a layer, block or section, in bytes."""

    weights: int
    """Parameters and buffers."""
    alive: int
    """Peak memory of the whole network's maps while it runs, in inference."""
    kept: int
    """Its outputs that are saved for the backward pass."""


@dataclass(frozen=True)
class Memory:
    """Memory of a network for a batch of images, in bytes, without that of the library itself."""

    dtype: str
    batch: int
    weights: int
    """Parameters and buffers."""
    gradients: int
    """The parameters' gradients after a backward pass."""
    inference: int
    """Peak memory of maps, the images included, in a forward pass."""
    inference_at: str
    """The step at that peak."""
    kept: int
    """Maps alive when the forward pass of a training step ends, the images included."""
    training: int
    """Peak memory of maps and gradients in a training step, the images included."""
    training_at: str
    """The step at that peak."""
    uses: dict[tuple[str, str], MemoryUse] = field(repr=False, compare=False)
    """Memory of each row of a report, by (depth, name): stages, blocks and layers."""


def compute_memory(plan: Plan, image: tuple[int, ...], batch: int, dtype: str) -> Memory:
    """Return the memory of a plan for `batch` images of shape (channels, height, width) in 2 dimensions.

    Raises:
        ConfigError: there is no such dtype, or the batch is empty.
    """
    if faults := memory_faults(batch, dtype):
        raise ConfigError(faults)
    resting = MemorySimulation(batch, DTYPES[dtype], training=False)
    resting.forward(plan, image)
    learning = MemorySimulation(batch, DTYPES[dtype], training=True)
    outputs = learning.forward(plan, image)
    kept = learning.now
    learning.backward(outputs)
    return Memory(
        dtype,
        batch,
        weights=sum(size for (depth, _), size in resting.weights.items() if depth == "layer"),
        gradients=sum(step.weights for step in learning.steps),
        inference=resting.peak,
        inference_at=resting.peak_at,
        kept=kept,
        training=learning.peak,
        training_at=learning.peak_at,
        uses={
            row: MemoryUse(resting.weights.get(row, 0), alive, learning.kept.get(row, 0))
            for row, alive in resting.alive.items()
        },
    )


def memory_faults(batch: Any, dtype: Any) -> list[Fault]:
    """Return the faults of a batch size and a dtype."""
    faults = []
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH:
        message = f"expected a number of images, 1 to {MAX_BATCH}, found {batch!r}"
        faults.append(Fault("batch", message))
    if not isinstance(dtype, str) or dtype not in DTYPES:
        faults.append(Fault("dtype", unknown("dtype", dtype, DTYPES)))
    return faults
