"""The cost of a composed configuration's model, for its image size."""

from __future__ import annotations

from dataclasses import replace

from resnet_factory.config.composition import Composed, composed_image_size
from resnet_factory.costing.complexity import Cost, compute_complexity
from resnet_factory.errors import ConfigError
from resnet_factory.planning.planner import run_planner


def cost_of_composed(composed: Composed) -> Cost:
    """Return the cost of the composed model at `input.size`.

    Raises:
        ConfigError: the image does not fit the network; located in its file or override.
    """
    planned = run_planner(composed.model)
    image = (planned.in_channels, *composed_image_size(composed.data))
    with composed.locating():
        try:
            return compute_complexity(planned, image)
        except ConfigError as error:
            if image != planned.image or "input" in composed.given:
                raise
            # The command's image size follows the model's, which is the key to set.
            raise ConfigError(
                replace(fault, path="model.image_size") if fault.path == "input.size" else fault
                for fault in error.faults
            ) from None
