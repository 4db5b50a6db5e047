"""The parts of a network that other libraries use: classifier, features, groups of layers, images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from resnet_factory.config.specification import Specification
from resnet_factory.layers import (
    Activation,
    AttentionPool,
    Axes,
    Conv,
    Dropout,
    Flatten,
    Identity,
    Layer,
    Linear,
    SelfAttention,
)
from resnet_factory.layers.axes import axes_entries
from resnet_factory.planning.backbone import backbone_stem_and_stages, possible_backbone_features
from resnet_factory.planning.network_plan import Plan, PlanFeature
from resnet_factory.planning.nodes import Chain, leaves

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of images of 3 channels, where a model does not state others."""
WHOLE_IMAGE = 64
"""Sides of images up to which they are used whole; larger ones are cropped after they were resized."""


class Classifier(NamedTuple):
    """The layer whose outputs are the classes."""

    name: str
    """The dotted name of its module, a convolution or linear layer."""
    layer: str
    """The name of its layer in the plan; another one if the layer is a module of several."""
    in_channels: int
    classes: int


def classifier(plan: Plan) -> Classifier | None:
    """Return a network's last convolution or linear layer, if only reshaping layers follow; else None."""
    for name, layer in reversed(list(leaves(plan.head))):
        if isinstance(layer, Conv | Linear):
            return Classifier(name, name, layer.channels, layer.to)
        if isinstance(layer, AttentionPool):
            return Classifier(f"{name}.proj", name, layer.channels, layer.to)
        if not isinstance(layer, Flatten | Identity | Dropout | Activation):
            break
    return None


def last_map_before_classifier(plan: Plan, known: Classifier | None) -> PlanFeature | None:
    """Return the last feature map before the pool and the classifier, at the network's top level."""
    found = None
    for feature in possible_backbone_features(plan):
        if known and known.name.partition(".")[0] == feature.name:
            break
        found = feature
    return found


class FeatureInfo(list[dict[str, Any]]):
    """The feature maps of a network: `num_chs`, `reduction` and `module` of each, as in timm's models.

    `channels()`, `reduction()` and `module_name()` list one of them, as timm's class of this name does.
    """

    def __init__(self, features: Sequence[PlanFeature]) -> None:
        super().__init__(
            {"num_chs": channels, "reduction": _feature_reduction(stride), "module": name, "index": i}
            for i, (name, channels, stride) in enumerate(features)
        )

    @property
    def out_indices(self) -> tuple[int, ...]:
        """The indices of all maps."""
        return tuple(range(len(self)))

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """Return an entry of the map at a place, or a list of those at several; of all if `idx` is None."""
        if isinstance(idx, int):
            return self[idx][key]
        return [self[i][key] for i in (self.out_indices if idx is None else idx)]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return numbers of channels."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return strides with respect to the image."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return names of modules."""
        return self.get("module", idx)


def _feature_reduction(stride: Axes) -> Any:
    """Return a stride as one number: the largest of those along the axes."""
    return max(axes_entries(stride))


def feature_info(plan: Plan) -> FeatureInfo:
    """Return a backbone's maps; for a whole network its stages', and the stem's of smaller strides."""
    if plan.features:
        return FeatureInfo(plan.features)
    return FeatureInfo(backbone_stem_and_stages(plan))


def group_matcher(plan: Plan, *, coarse: bool = False) -> dict[str, Any]:
    """Return patterns of parameter names by group, in order, as timm's models do: stem, then each stage.

    A stage is one group if `coarse`, else one per block. Layers between stages and classifier are of the
    last group before them; what matches nothing, the classifier, is a group after all others.
    """
    groups: dict[str, Any] = {}
    if stem := _group_pattern(_top_level_module_names(plan.stem)):
        groups["stem"] = stem
    for stage in plan.stages:
        name = re.escape(stage.name)
        # A transition is of the first block's group.
        groups[stage.name] = (
            rf"^{name}\." if coarse else [(rf"^{name}\.(\d+)\.", None), (rf"^{name}\.", (0,))]
        )
    known = classifier(plan)
    last = known.name.partition(".")[0] if known else ""
    if (
        head := _group_pattern([name for name in _top_level_module_names(plan.head) if name != last])
    ) and plan.stages:
        groups["head"] = [(head, (99999,))]  # timm's MATCH_PREV_GROUP
    return groups


def _top_level_module_names(part: Chain) -> list[str]:
    """Return the names of a part's modules at the network's top level, also of those inside of joins."""
    return list(dict.fromkeys(name.partition(".")[0] for name, _ in leaves(part)))


def _group_pattern(names: Sequence[str]) -> str:
    """Return the pattern of parameters of some top-level modules; empty for none."""
    return rf"^(?:{'|'.join(map(re.escape, names))})\." if names else ""


def image_normalisation(of: Plan | Specification) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of a network's images: its `image_mean` and `image_std`.

    Where these are not stated, they are ImageNet's, and 0.5 for images that do not have 3 channels.
    """
    half = (0.5,) * of.in_channels
    usual = IMAGENET if of.in_channels == 3 else (half, half)
    return of.image_mean or usual[0], of.image_std or usual[1]


def pretrained_cfg(plan: Plan) -> dict[str, Any]:
    """Return image settings and names of layers, with the keys of timm's `pretrained_cfg`."""
    mean, std = image_normalisation(plan)
    known = classifier(plan)
    convolutions = (name for name, layer in plan.leaves if isinstance(layer, Conv))
    return {
        "architecture": plan.name,
        "input_size": plan.image,
        "fixed_input_size": any(_has_fixed_input_size(layer) for _, layer in plan.leaves),
        "interpolation": "bicubic",
        "crop_pct": 1.0 if max(plan.image[1:]) <= WHOLE_IMAGE else 0.875,
        "crop_mode": "center",
        "mean": mean,
        "std": std,
        "num_classes": known.classes if known and not plan.features else 0,
        "pool_size": None,
        "first_conv": next(convolutions, None),
        "classifier": known.name if known and not plan.features else None,
    }


def _has_fixed_input_size(layer: Layer) -> bool:
    """Return whether a layer is made for maps of one size."""
    return isinstance(layer, SelfAttention | AttentionPool) and any(axes_entries(layer.sides))
