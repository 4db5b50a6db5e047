"""Metrics of real modules: latency, peak memory, and scores at initialisation that need no data.

Every metric works on a copy, so the network it is given stays as it is, to the bit; every random number
comes from the seed it is given. What cannot be said of a network is `NotApplicable`, with the reason.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from resnet_factory.layers import Activation, BatchNorm, Conv, Layer, Linear, Norm
from resnet_factory.network.builder import Network, build
from resnet_factory.planning.network_plan import Block, Plan, Stage
from resnet_factory.planning.nodes import SUM, Chain, Node, Parallel
from resnet_factory.study.distributed import threads

WARM_UP = 3
"""Runs before the clock counts."""
RECTIFIERS = ("relu", "relu6", "leaky_relu")
"""Activations that are linear on either side of 0: what a binary code is made of."""


class NotApplicable(Exception):  # noqa: N818 - an answer, not an error
    """The metric means nothing for this network; the message says why."""


@dataclass(frozen=True)
class Conditions:
    """What a metric is measured with."""

    image: tuple[int, int]
    batch: int = 16
    repeats: int = 20
    seeds: int = 1
    threads: int = 1
    device: str = "cpu"
    dtype: str = "float32"
    channels_last: bool = False
    seed: int = 0

    def __str__(self) -> str:
        shape = "x".join(map(str, self.image))
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}, " if self.device == "cpu" else ""
        layout = "channels_last" if self.channels_last else "contiguous"
        device = self.device if self.device == "cpu" else torch.cuda.get_device_name(self.device)
        return f"batch {self.batch} of {shape}, {device}, {threads}{self.dtype}, {layout}"


@dataclass(frozen=True)
class Score:
    """A value, the middle half of what was seen, and the conditions."""

    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


def measured(plan: Plan, metric: str, conditions: Conditions) -> Score:
    """One metric of networks freshly built from a plan; the mean over `seeds` of them where it is random.

    Raises:
        NotApplicable: with the reason.
    """
    with threads(conditions.threads):
        return _measured(plan, metric, conditions)


def _measured(plan: Plan, metric: str, conditions: Conditions) -> Score:
    function = METRICS[metric]
    if metric in ("latency", "memory"):
        return function(_built(plan, conditions.seed), conditions)
    scores = []
    for seed in range(conditions.seed, conditions.seed + conditions.seeds):
        scores.append(function(_built(plan, seed), replace(conditions, seed=seed)))
    values = [score.value for score in scores]
    if len(values) == 1:
        return scores[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Score(statistics.fmean(values), low, high, f"mean of {len(values)} seeds, {scores[0].note}")


def _built(plan: Plan, seed: int) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(plan)


# Measurements ------------------------------------------------------------------------------------


def latency(network: Network, conditions: Conditions) -> Score:
    """Milliseconds for one forward pass of a batch in eval mode: median and quartiles."""
    times = []
    module, images = _ready(network, conditions)
    with torch.inference_mode():
        for run in range(WARM_UP + conditions.repeats):
            _wait(conditions.device)
            start = time.perf_counter()
            module(images)
            _wait(conditions.device)
            if run >= WARM_UP:
                times.append((time.perf_counter() - start) * 1e3)
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
    return Score(
        middle, low, high, f"{conditions}, median of {conditions.repeats} after {WARM_UP} to warm up"
    )


def memory(network: Network, conditions: Conditions) -> Score:
    """Bytes alive at once during a forward pass in eval mode: parameters, buffers and activations.

    On a CPU the tensors are counted; what an operation takes for itself inside is not. On a GPU it is
    the allocator's own peak.
    """
    module, images = _ready(network, conditions)
    with torch.inference_mode():
        if conditions.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(conditions.device)
            module(images)
            peak = torch.cuda.max_memory_allocated(conditions.device)
            return Score(float(peak), note=f"{conditions}, allocator's peak")
        fixed = [*module.parameters(), *module.buffers(), images]
        with _Alive(fixed) as alive:
            module(images)
    return Score(float(alive.peak), note=f"{conditions}, tensors alive")


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are alive."""

    def __init__(self, fixed: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.seen: weakref.WeakSet[Any] = weakref.WeakSet()
        for tensor in fixed:
            self.count(tensor)

    def count(self, tensor: Any) -> Any:
        """Count a tensor's memory until it is freed; views of known memory count nothing."""
        if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self.seen:
            self.seen.add(storage)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.free, storage.nbytes()).atexit = False
        return tensor

    def free(self, size: int) -> None:
        """A tensor's memory went away."""
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else (result,):
            self.count(part)
        return result


# Scores at initialisation ------------------------------------------------------------------------


def synflow(network: Network, conditions: Conditions) -> Score:
    """log10 of the sum of |w * dR/dw|, R the sum of the outputs for an image of ones (Tanaka et al. 2020).

    Absolute weights, double precision, normalisation layers taken out: with them R would not depend on w.
    """
    module = copy.deepcopy(network).double().to(conditions.device).eval()
    for name, layer in network.plan.leaves:
        if isinstance(layer, Norm):
            module.set_submodule(name, nn.Identity())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_()
    image = torch.ones(
        1, network.plan.in_channels, *conditions.image, dtype=torch.double, device=conditions.device
    )
    module(image).sum().backward()
    flow = sum(
        float((parameter.detach() * parameter.grad).abs().sum())
        for parameter in module.parameters()
        if parameter.grad is not None and parameter.dim() > 1
    )
    if not 0 < flow < math.inf:
        raise NotApplicable(
            "no signal flows through" if flow == 0 else "the signal overflows double precision"
        )
    return Score(math.log10(flow), note="log10, float64, no normalisation")


def naswot(network: Network, conditions: Conditions) -> Score:
    """Log |K|, K_ij the number of rectifiers that answer images i and j alike (Mellor et al. 2021).

    The images are noise.
    """
    plan = network.plan
    names = [
        name for name, layer in plan.leaves if isinstance(layer, Activation) and layer.function in RECTIFIERS
    ]
    if not names:
        found = sorted({layer.function for _, layer in plan.leaves if isinstance(layer, Activation)})
        raise NotApplicable(
            f"no rectifiers give a binary code; the activations are {', '.join(found) or 'none'}"
        )
    module = copy.deepcopy(network).to(conditions.device).train()
    kernel = torch.zeros(conditions.batch, conditions.batch, dtype=torch.double, device=conditions.device)

    def add(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        code = (output.flatten(1) > 0).double()
        kernel.add_(code @ code.T + (1 - code) @ (1 - code).T)

    for name in names:
        module.get_submodule(name).register_forward_hook(add)
    with torch.no_grad(), _seeded(conditions.seed):
        module(_noise(network, conditions))
    sign, value = torch.linalg.slogdet(kernel)
    if sign <= 0 or not math.isfinite(value):
        raise NotApplicable("the kernel is singular: some images are answered alike by every rectifier")
    return Score(float(value), note=f"batch {conditions.batch} of noise [{len(names)} activations]")


def zen(network: Network, conditions: Conditions) -> Score:
    """The Zen score: log E|f(x) - f(x + 0.01 e)| + sum of log sigma of the norms (Lin et al. 2021).

    f is the network before its head, without shortcuts, its weights drawn anew from N(0, 1).
    """
    plan = network.plan
    norms = [layer for _, layer in plan.leaves if isinstance(layer, Norm)]
    if not norms or not all(isinstance(layer, BatchNorm) for layer in norms):
        raise NotApplicable("the score is made from batch normalisation's variances, and this has none")
    stages = tuple(_without_shortcuts(stage) for stage in plan.stages)
    with _seeded(conditions.seed):
        module = build(replace(plan, stages=stages, head=Chain())).to(conditions.device).train()
        spread = 0.0

        def add(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            nonlocal spread
            spread += 0.5 * math.log(float(inputs[0].var(dim=(0, 2, 3), unbiased=False).mean()) + 1e-12)

        for part in module.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                nn.init.normal_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
            elif isinstance(part, nn.BatchNorm2d):
                nn.init.ones_(part.weight)
                part.register_forward_pre_hook(add)
        with torch.no_grad():
            images = _noise(network, conditions)
            first = module(images)
            kept = spread
            moved = module(images + 1e-2 * _noise(network, conditions))
    change = float((first - moved).abs().sum(dim=(1, 2, 3)).mean())
    if not 0 < change < math.inf:
        raise NotApplicable("the features do not change, or overflow")
    return Score(math.log(change) + kept, note=f"batch {conditions.batch} of noise, shortcuts left out")


def gradients(network: Network, conditions: Conditions) -> Score:
    """How far apart the layers' gradients are: log10 of the largest weight-gradient norm over the smallest.

    The loss is cross-entropy of noise against random labels; the sum of squares where there is no head.
    """
    module = copy.deepcopy(network).to(conditions.device).train()
    with _seeded(conditions.seed):
        output = module(_noise(network, conditions))
        if output.dim() == 2:
            labels = torch.randint(output.shape[1], (conditions.batch,), device=conditions.device)
            loss = nn.functional.cross_entropy(output, labels)
        else:
            loss = output.square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    norms: dict[str, float] = {}
    for name, layer in network.plan.leaves:
        if isinstance(layer, (Conv, Linear)):
            weight = module.get_submodule(name).weight
            assert isinstance(weight, Tensor)
            norms[name] = 0.0 if weight.grad is None else float(weight.grad.norm())
    least, most = min(norms, key=lambda key: norms[key]), max(norms, key=lambda key: norms[key])
    if norms[least] == 0 or not math.isfinite(norms[most]):
        raise NotApplicable(
            f"the gradient of {least} is 0" if norms[least] == 0 else "the gradients overflow"
        )
    ends = f"largest {most} {norms[most]:.3g}, smallest {least} {norms[least]:.3g}"
    note = f"batch {conditions.batch} of noise [{ends}]"
    return Score(math.log10(norms[most] / norms[least]), note=note)


METRICS: dict[str, Callable[[Network, Conditions], Score]] = {
    "latency": latency,
    "memory": memory,
    "synflow": synflow,
    "naswot": naswot,
    "zen": zen,
    "gradients": gradients,
}


# What they share ---------------------------------------------------------------------------------


def _ready(network: Network, conditions: Conditions) -> tuple[nn.Module, Tensor]:
    """A copy in eval mode and a batch of noise, placed as the conditions say."""
    dtype = getattr(torch, conditions.dtype)
    layout = torch.channels_last if conditions.channels_last else torch.contiguous_format
    module = copy.deepcopy(network).to(conditions.device, dtype).eval()
    module.to(memory_format=layout)  # type: ignore[call-overload]
    with _seeded(conditions.seed):
        images = _noise(network, conditions).to(dtype).to(memory_format=layout)
    return module, images


def _noise(network: Network, conditions: Conditions) -> Tensor:
    shape = (conditions.batch, network.plan.in_channels, *conditions.image)
    return torch.randn(shape).to(conditions.device)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers from a seed; the caller's own go on as if nothing had been drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _without_shortcuts(stage: Stage) -> Stage:
    blocks: dict[int, Block] = {}
    for block in stage.blocks:
        blocks.setdefault(id(block), replace(block, node=block.node.changed(_plain)))
    return replace(stage, blocks=tuple(blocks[id(block)] for block in stage.blocks))


def _plain(node: Node) -> Node:
    if isinstance(node, Layer):
        return node
    if isinstance(node, Parallel) and node.join == SUM:
        return node.branches[0].changed(_plain)
    return node.changed(_plain)
