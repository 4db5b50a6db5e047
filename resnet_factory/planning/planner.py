"""The planner: unrolls a ModelConfig's recipes into a Plan. The only place where numbers are derived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from resnet_factory.config.recipe import Recipe
from resnet_factory.config.schema import MAX_CHANNELS, Specification
from resnet_factory.errors import ConfigError, Fault, one_of
from resnet_factory.layers import axes_text, largest_axis_entry, multiply_axes
from resnet_factory.layers.expressions import parse_expression
from resnet_factory.planning import backbone
from resnet_factory.planning.compiled import Scope
from resnet_factory.planning.evaluation import EvaluationStopped
from resnet_factory.planning.expansion import MAX_LAYERS, Children, Signal
from resnet_factory.planning.naming import Namer
from resnet_factory.planning.network_plan import Plan, PlanBlock, PlanStage
from resnet_factory.planning.nodes import SUM, Chain, Parallel
from resnet_factory.planning.structures import StructureUnroller

OUT = parse_expression("out")


def run_planner(config: Specification) -> Plan:
    """Unroll a config into a plan.

    Raises:
        ConfigError: the recipes do not fit together; with every fault found.
    """
    planner = Planner(config)
    result = planner.network()
    if planner.faults:
        raise ConfigError(planner.faults)
    assert result is not None
    return result


class Planner(StructureUnroller):
    """Plans stem, stages and head."""

    def __init__(self, config: Specification) -> None:
        super().__init__(config)
        self.planned: dict[Any, Any] = {}
        """The blocks planned so far, by what they depend on."""
        self.strides, self.dilations = config.strides, config.dilations
        self.words = dict(config.shortcut.words)

    def network(self) -> Plan | None:
        """Return the whole network; None if a fault ended planning early."""
        config = self.config
        scope = self.prepared.everywhere
        stages: list[PlanStage] = []
        called = [f"layer{stage + 1}" for stage in range(len(config.depths))]
        names = Namer(taken=set(called), reserved=frozenset(called))
        try:
            stem, signal = self.section(config.stem, Signal(config.in_channels), scope, names)
            self.dilate(largest_axis_entry(signal.step))
            signal = Signal(signal.channels, signal.step)
            for stage, name in enumerate(called):
                planned = self.stage(stage, signal.channels, scope)
                stages.append(planned)
                signal = Signal(
                    planned.out_channels, multiply_axes(signal.step, backbone.backbone_stage_stride(planned))
                )
                names.maps[name] = signal
            head, _ = self.section(config.head, signal, scope, names)
        except EvaluationStopped:
            return None
        whole = Plan(
            config.in_channels,
            Chain(stem),
            backbone.tap_backbone_stages(stages, Chain(head)),
            Chain(head),
            config.name,
            config.image_size,
            config.init,
            dims=config.dims,
            image_mean=config.image_mean,
            image_std=config.image_std,
        )
        if config.features is None:
            return whole
        faults: list[Fault] = []
        cut = backbone.cut_backbone(whole, config.features, f"{config.path}.features", faults)
        self.faults |= dict.fromkeys(faults)
        return cut

    def dilate(self, shrunk: int) -> None:
        """Replace the strides beyond `output_stride` by dilation (Chen et al. 2017, section 3.1)."""
        wanted = self.config.output_stride
        if wanted is None:
            return
        strides, dilations, factor, possible = [], [], 1, [shrunk]
        for stride, dilation in zip(self.strides, self.dilations, strict=True):
            possible.append(possible[-1] * stride)
            if shrunk >= wanted:
                factor, kept = factor * stride, 1
            else:
                shrunk, kept = shrunk * stride, stride
            strides.append(kept)
            dilations.append(dilation * factor)
        if shrunk > wanted:
            self.fault(
                f"{self.root}.output_stride",
                "replacing strides by dilation can give this network an output stride of "
                f"{one_of(map(str, dict.fromkeys(possible)))}, not {wanted}",
            )
            raise EvaluationStopped
        self.strides, self.dilations = tuple(strides), tuple(dilations)

    def section(self, recipe: Recipe, signal: Signal, scope: Scope, names: Namer) -> tuple[Children, Signal]:
        """Return the stem or the head."""
        self.room = MAX_LAYERS
        inner = {**scope, "in": signal.channels}
        self.define(recipe, inner)
        return self.expand(recipe.items("layers"), signal, inner, names)

    def stage(self, stage: int, channels: int, outer: Scope) -> PlanStage:
        """Return one stage, counted from 0; `channels` is its number of input channels."""
        config = self.config
        recipe = config.blocks[stage]
        depth = config.depths[stage]
        scope: Scope = {
            **outer,
            "width": config.widths[stage],
            "groups": config.groups[stage],
            "base_width": config.base_width[stage],
            "depth": depth,
            "stage": stage + 1,
            "blocks": sum(config.depths),
        }
        if config.stage_slots:  # the stem has those of the first stage, the head those of the last
            own = {name: recipes[stage] for name, recipes in config.stage_slots.items()}
            self.slots = {**config.slots, **own}
            scope |= {name: int(not recipe.empty) for name, recipe in own.items()}
        stride = self.strides[stage]
        transition, signal = self.transition(stage, Signal(channels), scope)
        step = largest_axis_entry(signal.step)
        if stride % step:
            self.fault(
                f"{config.transition.path}.layers",
                f"the transition has a stride of {step}, but the stage's stride is {stride}",
            )
            raise EvaluationStopped
        channels, stride = signal.channels, stride // step

        def at(block: int, channels: int) -> PlanBlock:
            here = {"in": channels, "stride": stride if block == 0 else 1}
            return self.block(recipe, {**scope, **self.position(stage, block), **here})

        bare = PlanStage(f"layer{stage + 1}", (), Chain(transition))
        return self.repeat(bare, depth, channels, self.prepared.repeats[stage], at)

    def repeat(
        self, stage: PlanStage, depth: int, channels: int, repeats: bool, at: Callable[[int, int], PlanBlock]
    ) -> PlanStage:
        """Return the stage with its blocks; `at` plans a block from its index and input channels."""
        blocks: list[PlanBlock] = []
        for block in range(depth):
            if repeats and block > 1 and blocks[-1].in_channels == channels:
                blocks.append(blocks[-1])
            else:
                blocks.append(at(block, channels))
            channels = blocks[-1].out_channels
        return replace(stage, blocks=tuple(blocks))

    def transition(self, stage: int, signal: Signal, scope: Scope) -> tuple[Children, Signal]:
        """Return the layers before a stage's first block."""
        items = self.config.transition.items("layers")
        if not items:
            return (), signal
        here = {"in": signal.channels, "stride": self.strides[stage]}
        inner = {**scope, **self.position(stage, 0), **here}
        self.define(self.config.transition, inner)
        return self.expand(items, signal, inner, Namer(indexed=True))

    def position(self, stage: int, block: int) -> Scope:
        """Return the names in scope that depend on the position of a block in its stage."""
        dilations, depths = self.dilations, self.config.depths
        before = stage - 1 if block == 0 and stage and self.config.first_dilation == "previous" else stage
        return {
            "dilation": dilations[stage],
            # The first block keeps the dilation of its input map (torchvision, timm).
            "entry_dilation": dilations[before],
            "first_block": int(block == 0),
            "block": block,
            "index": sum(depths[:stage]) + block,
            "previous_depth": depths[stage - 1] if stage else 0,
        }

    def block(self, recipe: Recipe, scope: Scope) -> PlanBlock:
        """Return one block, reusing an earlier one with equal dependencies."""
        key = self.prepared.depends[scope["stage"] - 1](scope)
        known = self.planned.get(key)
        if known is None:
            known = self.planned[key] = self.new_block(recipe, scope)
        return known

    def new_block(self, recipe: Recipe, scope: Scope) -> PlanBlock:
        """Return one block: its body and shortcut, planned from `scope` and checked against each other."""
        shortcut = self.config.shortcut
        self.room = MAX_LAYERS
        self.define(recipe, scope)
        where, value = self.trace(OUT, f"{recipe.path}.out", scope)
        out = self.whole(scope["out"], where, scope, value)
        if not 0 < out <= MAX_CHANNELS:
            self.fault(where, f"{out} channels; allowed are 1 to {MAX_CHANNELS}", scope, value)
            raise EvaluationStopped
        arrives, stride = scope["in"], scope["stride"]
        scope["out"] = out
        scope["change"] = int(stride != 1 or arrives != out)
        names = Namer(taken={"downsample"})
        pre, between = self.expand(recipe.items("pre"), Signal(arrives), scope, names)
        body, signal = self.expand(recipe.items("body"), between, scope, names)
        if signal.channels != out:
            self.fault(
                f"{recipe.path}.body",
                f"the body ends in {signal.channels} channels, but 'out' is {out}; end it in 'to: out'",
                scope,
            )
            raise EvaluationStopped
        if not planner_step_shrinks_by(signal.step, stride):
            self.fault(
                f"{recipe.path}.body",
                f"the body has a stride of {axes_text(signal.step)}, but the stage's stride is {stride}; "
                "give one layer 'stride: stride'",
                scope,
            )
            raise EvaluationStopped
        words, here = self.words, scope
        if shortcut.names:
            here = dict(scope)
            self.define(shortcut, here)
        projects = bool(self.value(words.get("when", 1), here, f"{shortcut.path}.when"))
        added = bool(self.value(words.get("add", 1), here, f"{shortcut.path}.add"))
        node = pre + body
        if added:
            reads_pre = words.get("reads" if projects else "identity_reads") == "pre"
            entry = between if reads_pre else Signal(arrives)
            layers = self.shortcut(shortcut, projects, entry, signal, here, names)
            if reads_pre:
                node = (*pre, ("", Parallel((Chain(body), layers), SUM)))
            else:
                node = (("", Parallel((Chain(pre + body), layers), SUM)),)
        whole = Signal(out, signal.step)
        post, signal = self.expand(recipe.items("post"), whole, scope, names)
        if signal != whole:
            self.fault(f"{recipe.path}.post", "'post' changes the channels or the size of the map", scope)
            raise EvaluationStopped
        return PlanBlock(
            Chain(node + post, names.taps),
            recipe.title or "block",
            arrives,
            out,
            stride,
            added,
            added and projects,
            whole.step,
        )

    def shortcut(
        self, recipe: Recipe, projects: bool, entry: Signal, body: Signal, scope: Scope, names: Namer
    ) -> Chain:
        """Return the layers of the shortcut: those of a projection, or none, which must fit the body's."""
        layers: Children = ()
        signal = entry
        if projects:
            own = names.inside(indexed=True)
            layers, signal = self.expand(recipe.items("layers"), entry, scope, own)
            layers = (("downsample", Chain(layers, own.taps)),) if layers else ()
        if (signal.channels, signal.step) != (body.channels, body.step):
            what = "the shortcut's layers turn" if projects else "an identity shortcut keeps"
            self.fault(
                f"{recipe.path}.when" if not projects else f"{recipe.path}.layers",
                f"{what} {entry.channels} channels "
                + (
                    f"into {signal.channels} at stride {axes_text(signal.step)}"
                    if projects
                    else "at stride 1"
                )
                + f", but the body of stage {scope['stage']} block {scope['block']} gives "
                f"{body.channels} channels at stride {axes_text(body.step)}; they cannot be added",
            )
            raise EvaluationStopped
        return Chain(layers)


def planner_step_shrinks_by(step: Any, stride: int) -> bool:
    """Return whether layers of stride `step` shrink a map by `stride`, along all axes or some of them."""
    if not isinstance(step, tuple):
        return bool(step == stride)
    return largest_axis_entry(step) == stride and all(each in (1, stride) for each in step)
