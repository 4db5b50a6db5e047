"""A built network: its forward pass, whole or in parts, and the attributes that other libraries expect."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from resnet_factory.config.schema import ModelConfig
from resnet_factory.errors import unknown
from resnet_factory.network.steps import Step, TapStep, run_steps
from resnet_factory.planning import anatomy
from resnet_factory.planning.network_plan import Plan

OUTPUTS = ("dict", "list", "tuple")
"""Forms of a backbone's output."""


def check_network_outputs(outputs: str) -> None:
    """Check the name of a form of a backbone's output.

    Raises:
        ValueError: there is no such form.
    """
    if outputs not in OUTPUTS:
        raise ValueError(unknown("form of outputs", str(outputs), OUTPUTS))


class Network(nn.Sequential):
    """A whole network, built from `plan`.

    Most networks run their children in sequence, as `nn.Sequential` does; if the plan's stem or head joins
    paths at the top level, `steps` defines the data flow. Attributes and methods with the names of timm's
    models mean what they mean there; their values follow from the plan.
    """

    plan: Plan
    steps: tuple[Step, ...] = ()
    """Empty if the children run in sequence."""
    config: ModelConfig | None = None
    """The config it was built from; None if it was built from a plan."""
    grad_checkpointing: bool = False
    """Whether blocks are computed again in the backward pass, in place of keeping what they computed."""

    def forward(self, input: Tensor) -> Tensor:
        return self._through(self.steps or tuple(self._modules), input, {})

    def _through(self, steps: tuple[Step, ...], x: Tensor, taps: dict[str, Tensor]) -> Tensor:
        """Return the output of some of the network's steps."""
        if not self.grad_checkpointing:
            return run_steps(self, steps, x, taps)
        stages = {stage.name for stage in self.plan.stages}
        for step in steps:
            if isinstance(step, str) and step in stages:
                for block in getattr(self, step).children():
                    x = checkpoint(block, x, use_reentrant=False)
            else:
                x = run_steps(self, (step,), x, taps)
        return x

    def __getitem__(self, index: int | slice) -> nn.Module:
        """Return one child, or an `nn.Sequential` for a slice.

        Raises:
            TypeError: a slice of a network whose top level is not a sequence of children.
        """
        if not isinstance(index, slice):
            return super().__getitem__(index)
        if self.steps:
            raise TypeError(
                "this network joins paths at its top level, which a slice would lose; "
                "name the maps instead: create_model(…, features=[…])"
            )
        return nn.Sequential(OrderedDict(list(self._modules.items())[index]))

    # Names of timm's models ------------------------------------------------------------------------

    def _classifier(self) -> anatomy.Classifier | None:
        """Return the plan's classifier, unless the network has none."""
        without = self.plan.features or (self.config is not None and self.config.num_classes == 0)
        return None if without else anatomy.classifier(self.plan)

    @property
    def num_classes(self) -> int:
        """Number of classes: outputs of the classifier as it is now; 0 without one."""
        known = self._classifier()
        if known is None:
            return 0
        module = self.get_submodule(known.name)
        if isinstance(module, nn.Identity):
            return 0
        found = getattr(module, "out_features", getattr(module, "out_channels", known.classes))
        return int(found)

    @property
    def num_features(self) -> int:
        """Number of channels of what `forward_features` returns."""
        last = anatomy.last_map_before_classifier(self.plan, self._classifier())
        return last.channels if last else self.plan.in_channels

    @property
    def head_hidden_size(self) -> int:
        """Number of inputs of the classifier; `num_features` without one."""
        known = self._classifier()
        return known.in_channels if known else self.num_features

    @property
    def feature_info(self) -> anatomy.FeatureInfo:
        """The maps of the stages, and those of the stem with smaller strides: num_chs, reduction, module."""
        return anatomy.feature_info(self.plan)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """Settings of the images, and names of the first convolution and the classifier."""
        found: dict[str, Any] = self.__dict__.get("_pretrained_cfg") or anatomy.pretrained_cfg(self.plan)
        return found

    @pretrained_cfg.setter
    def pretrained_cfg(self, settings: dict[str, Any]) -> None:
        self.__dict__["_pretrained_cfg"] = settings

    default_cfg = pretrained_cfg

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return patterns of parameter names by group, stem, stages or blocks, for layer-wise rates."""
        return anatomy.group_matcher(self.plan, coarse=coarse)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the blocks of the stages again in the backward pass, to save memory; or not."""
        self.grad_checkpointing = enable

    def get_classifier(self, name_only: bool = False) -> nn.Module | str:
        """Return the classifier, or the name of its module; an identity and an empty name without one."""
        known = self._classifier()
        if name_only:
            return known.name if known else ""
        return self.get_submodule(known.name) if known else nn.Identity()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier, as `rf.reset_classifier`; 0 classes leave an identity in its place.

        Raises:
            ConfigError: no layer of the network reads `num_classes`, or the number is out of range.
            ValueError: another `global_pool` is asked for, which is the head's; or as `rf.reset_classifier`.
        """
        if global_pool is not None:
            raise ValueError("the pool is part of the head's recipe; change that: model/head=…")
        if num_classes == 0:
            if known := self._classifier():
                self.set_submodule(known.name, nn.Identity())
            return
        from resnet_factory.network.classifier import reset_classifier

        reset_classifier(self, num_classes)

    def _parts(self) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        """Return the steps of the features, and those of the head."""
        steps: tuple[Step, ...] = self.steps or tuple(self._modules)
        last = anatomy.last_map_before_classifier(self.plan, self._classifier())
        if self.plan.features or last is None:
            return (steps, ()) if self.plan.features else ((), steps)
        end = steps.index(last.name) + 1
        while end < len(steps) and isinstance(steps[end], TapStep):
            end += 1
        return steps[:end], steps[end:]

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map, before the pool: (N, C, H, W)."""
        return self._through(self._parts()[0], x, {})

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the output for the map of `forward_features`; the classifier's input if `pre_logits`.

        Raises:
            KeyError: the head reads maps of the stages, which are not given here.
        """
        steps = self._parts()[1]
        known = self._classifier() if pre_logits else None
        if known is None:
            return self._through(steps, x, {})
        if known.name in steps:
            return self._through(steps[: steps.index(known.name)], x, {})
        given: list[Tensor] = []
        handle = self.get_submodule(known.name).register_forward_pre_hook(
            lambda _module, inputs: given.append(inputs[0])
        )
        try:
            self._through(steps, x, {})
        finally:
            handle.remove()
        return given[0]


class Backbone(Network):
    """A network that returns feature maps, {name: (N, C, H, W)}, in the order of `plan.features`."""

    outputs: str = "dict"
    """The form of the output: `dict`, by name; `list` or `tuple`."""

    def forward(self, input: Tensor) -> Any:
        wanted = [feature.name for feature in self.plan.features]
        maps: dict[str, Tensor] = {}
        taps: dict[str, Tensor] = {}
        for step in self.steps or tuple(self._modules):
            input = self._through((step,), input, taps)
            name = step.of if isinstance(step, TapStep) else step
            if name in wanted:
                maps.pop(str(name), None)  # a later tap takes the name over
                maps[str(name)] = input
        if self.outputs == "dict":
            return maps
        return list(maps.values()) if self.outputs == "list" else tuple(maps.values())

    @property
    def out_channels(self) -> list[int]:
        """Number of channels of each map."""
        return [feature.channels for feature in self.plan.features]
