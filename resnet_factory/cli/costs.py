"""The cost of a composed configuration's model, for its image size."""

from __future__ import annotations

from resnet_factory.config.composition import Composed, composed_image_size
from resnet_factory.costing.complexity import Cost, compute_complexity
from resnet_factory.planning.planner import run_planner


def cost_of_composed(composed: Composed) -> Cost:
    """Return the cost of the composed model at `input.size`.

    Raises:
        ConfigError: the image does not fit the network; located in its file or override.
    """
    planned = run_planner(composed.model)
    with composed.locating():
        return compute_complexity(planned, (planned.in_channels, *composed_image_size(composed.data)))
