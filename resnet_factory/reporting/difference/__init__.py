"""Differences between two networks: their configs, layers and costs."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from resnet_factory.config.schema import ModelConfig
from resnet_factory.costing.complexity import Cost
from resnet_factory.planning.models import Source, config_of_model
from resnet_factory.planning.network_plan import Plan
from resnet_factory.reporting.cost_report import cost
from resnet_factory.reporting.difference.block_changes import ChangedBlocks, find_changed_blocks
from resnet_factory.reporting.difference.config_changes import ConfigChange, find_config_changes


@dataclass(frozen=True, repr=False)
class Difference:
    """The difference between two networks; false if they are equal. `str` gives the output of `diff`."""

    before: Cost
    after: Cost
    config: tuple[ConfigChange, ...]
    """Keys of the model's config whose values differ; none where a plan was given, which has no config."""
    places: tuple[ChangedBlocks, ...]
    """Layers and blocks that were added, removed or changed; equal changes are grouped."""

    def __bool__(self) -> bool:
        return bool(self.config or self.places) or _difference_totals(self.before) != _difference_totals(
            self.after
        )

    def __str__(self) -> str:
        from resnet_factory.reporting.difference.text import difference_text

        return difference_text(self)

    def __repr__(self) -> str:
        names = " and ".join(
            f"{cost.plan.name or 'unnamed'} {cost.plan.id}" for cost in (self.before, self.after)
        )
        changes = self.after.params - self.before.params, self.after.macs - self.before.macs
        return f"<Difference of {names}: {changes[0]:+,} parameters, {changes[1]:+,} MACs>"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self) or 'no difference')}</pre>"


def diff(before: Source, after: Source, image: tuple[int, ...] | None = None) -> Difference:
    """Compare two networks, given as names of models, configs or plans.

    Both are costed for an image of shape (channels, height, width); the default is each model's
    `image_size`. A plan has no config, so that layers and costs are compared where one is given.

    Raises:
        ConfigError: a config cannot be planned, or the image does not fit.
    """
    first, second = (
        None if isinstance(said, Plan) else config_of_model(said, "diff()") for said in (before, after)
    )
    return difference_of_costs(first, second, cost(first or before, image), cost(second or after, image))


def difference_of_costs(
    before: ModelConfig | None, after: ModelConfig | None, before_cost: Cost, after_cost: Cost
) -> Difference:
    """Compare two networks that are planned and costed already; without a config, their plans alone."""
    config = () if before is None or after is None else find_config_changes(before, after)
    return Difference(before_cost, after_cost, config, find_changed_blocks(before_cost, after_cost))


def _difference_totals(cost: Cost) -> tuple[object, ...]:
    return cost.image, cost.shape, cost.total
