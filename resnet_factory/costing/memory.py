"""Memory: the forward and backward pass of a plan played through, counting the bytes alive at each step.

The model, which is what PyTorch does when it runs the built module eagerly:

- Nothing works in place. A layer's output exists beside its input; flatten, identity, and dropout while
  not training, give the input itself.
- A map is freed when nobody needs it any more: its last reader is done, and so are the stage and the
  block whose input it is (a module's caller holds what it passed in until the call returns). The image
  belongs to the caller and stays.
- While training, what the backward pass needs is kept: the input of convolution, linear, norm and
  pooling layers, of most activations, the output of ReLU, sigmoid and tanh, and both factors of a
  product; besides, max-pool's indices and dropout's masks. A map that two layers need is kept once.
- The backward pass runs the layers in reverse. Each needs the gradient of its output, makes that of its
  input and of its own weights, and then lets go of what was kept for it. Gradients of weights stay.
- Kernels' scratch space, the allocator's rounding and the optimiser's state are not counted: SGD with
  momentum adds once the weights, Adam twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from resnet_factory.costing.memory_simulation import MemorySimulation
from resnet_factory.errors import ConfigError, Fault, unknown
from resnet_factory.planning.network_plan import Plan

DTYPES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number."""
MAX_BATCH = 2**20


class Use(NamedTuple):
    """Bytes that a layer, block or section needs."""

    weights: int
    """Its parameters and buffers."""
    alive: int
    """The most that maps take in the whole network while it runs, not training."""
    kept: int
    """Bytes of its outputs that training saves for the backward pass."""


@dataclass(frozen=True)
class Memory:
    """The bytes a network needs for a batch of images, without those of the library itself."""

    dtype: str
    batch: int
    weights: int
    """Parameters and buffers."""
    gradients: int
    """Bytes of the parameters' gradients after a backward pass."""
    inference: int
    """The most that maps, the images included, take at any moment of a forward pass."""
    inference_at: str
    """The place of that peak."""
    kept: int
    """Maps alive when the forward pass of a training step ends, the images included."""
    training: int
    """The most that maps and gradients take at any moment of a training step, the images included."""
    training_at: str
    """The place of that peak."""
    uses: dict[tuple[str, str], Use] = field(repr=False, compare=False)
    """Memory of each row of a report, by (depth, name): stages, blocks and layers."""


def memory(plan: Plan, image: tuple[int, int, int], batch: int, dtype: str) -> Memory:
    """The memory of a plan for `batch` images of shape (channels, height, width).

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
            row: Use(resting.weights.get(row, 0), alive, learning.kept.get(row, 0))
            for row, alive in resting.alive.items()
        },
    )


def memory_faults(batch: Any, dtype: Any) -> list[Fault]:
    """Faults of a number of images and a dtype."""
    faults = []
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH:
        message = f"expected a number of images, 1 to {MAX_BATCH}, found {batch!r}"
        faults.append(Fault("batch", message))
    if not isinstance(dtype, str) or dtype not in DTYPES:
        faults.append(Fault("dtype", unknown("dtype", dtype, DTYPES)))
    return faults
