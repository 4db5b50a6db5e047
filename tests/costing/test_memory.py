"""Memory figures against what PyTorch has alive when it runs the built network.

Two measurements. The first follows every tensor that is made, and when its memory goes: what the model of
`memory.py` counts, so inference agrees to the byte and training within 1 % (norms' saved statistics are not
counted). The second asks the allocator, kernels' scratch space included: within 5 % at a batch of 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import resnet_factory as rf
from resnet_factory.config.model_index import index_models

MODELS = index_models()
SAMPLE = [
    "gcresnext26ts",
    "resnet18", "resnet50d", "plain20", "preact_resnet50", "seresnet50", "ecaresnet50d", "resnetblur18",
    "resnetaa50", "resnext50_32x4d", "res2net50_26w_4s", "resnest14d", "skresnet18", "resnetv2_50x1_bit",
    "regnetz_005", "wrn16_8", "fixup_resnet20", "skipinit_resnet50", "nf_resnet26", "resnetrs50",
]  # fmt: skip


class Following(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the memory of every tensor that operators give: the most alive at once, in bytes."""

    def __init__(self, *ignored: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ignored = {tensor.untyped_storage()._cdata for tensor in ignored}
        self.known: dict[int, tuple[Any, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.ignored:
                    reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                    self.known[storage._cdata] = reference, storage.nbytes()
        self.peak = max(self.peak, self.now())
        return made

    def now(self) -> int:
        """Bytes alive at this moment."""
        self.known = {key: entry for key, entry in self.known.items() if not entry[0].expired()}
        return sum(size for _, size in self.known.values())


def network_and_images(name: str, batch: int, side: int) -> tuple[nn.Module, torch.Tensor, rf.Plan]:
    plan = rf.plan(MODELS.config(name))
    side = min(side, plan.image_size)
    torch.manual_seed(0)
    return rf.build(plan), torch.randn(batch, plan.in_channels, side, side), plan


@pytest.mark.parametrize("name", SAMPLE)
def test_what_is_alive_when_torch_runs_the_network(name: str) -> None:
    network, images, plan = network_and_images(name, batch=2, side=96)
    memory = rf.cost(plan, (plan.in_channels, images.shape[2], images.shape[3])).memory(batch=2)
    own = [*network.parameters(), *network.buffers()]
    with torch.no_grad(), Following(images, *own) as inference:
        network.eval()(images)
    assert inference.peak + images.nbytes == pytest.approx(memory.inference, rel=0.001)
    with Following(images, *own) as training:
        outputs = network.train()(images)
        kept = training.now()
        outputs.backward(torch.ones_like(outputs))
    assert kept + images.nbytes == pytest.approx(memory.kept, rel=0.015)
    assert training.peak + images.nbytes == pytest.approx(memory.training, rel=0.015)


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_weights_are_parameters_and_buffers_to_the_byte(name: str, dtype: str) -> None:
    plan = rf.plan(MODELS.config(name))
    with torch.device("meta"):
        network = rf.build(plan).to(getattr(torch, dtype))
    memory = rf.cost(plan).memory(dtype=dtype)
    tensors = [*network.parameters(), *network.buffers()]
    assert memory.weights == sum(tensor.nbytes for tensor in tensors)
    assert memory.gradients == sum(parameter.nbytes for parameter in network.parameters())


def allocated(run: Callable[[], object]) -> int:
    """The most that PyTorch's allocator gave out on top of what it had, in bytes."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    assert profiler.profiler is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_what_the_allocator_gives_out(name: str) -> None:
    network, images, plan = network_and_images(name, batch=4, side=224)
    memory = rf.cost(plan).memory(batch=4)

    def infer() -> None:
        with torch.no_grad():
            network.eval()(images)

    def train() -> None:
        network.train()
        outputs = network(images)
        outputs.backward(torch.ones_like(outputs))

    infer()  # the first run also makes what is made once
    assert allocated(infer) + images.nbytes == pytest.approx(memory.inference, rel=0.05)
    network.train()(images)
    assert allocated(train) + images.nbytes == pytest.approx(memory.training, rel=0.05)


def test_a_backbone_holds_the_maps_it_returns() -> None:
    plan = rf.plan(rf.compose("resnet18", "++model.features=[layer1,layer4]"))
    network, images = rf.build(plan).eval(), torch.randn(2, 3, 96, 96)
    memory = rf.cost(plan, (3, 96, 96)).memory(batch=2)
    with torch.no_grad(), Following(images, *network.parameters(), *network.buffers()) as inference:
        network(images)
    assert inference.peak + images.nbytes == memory.inference


def test_maps_grow_with_the_batch_and_weights_do_not() -> None:
    cost = rf.cost(rf.plan(MODELS.config("resnet50")))
    one, many = cost.memory(), cost.memory(batch=64)
    assert (many.weights, many.inference) == (one.weights, 64 * one.inference)
    assert many.kept == 64 * one.kept
    half = cost.memory(dtype="float16")
    assert 2 * half.inference == one.inference
    assert half.kept > one.kept // 2  # max-pool's indices stay 64 bits wide


def test_rows_say_where_the_most_is_alive() -> None:
    cost = rf.cost(rf.plan(MODELS.config("resnet50")))
    memory = cost.memory()
    layer = {name: use for (depth, name), use in memory.uses.items() if depth == "layer"}
    assert layer[memory.inference_at].alive == memory.inference == max(use.alive for use in layer.values())
    for depth in ("stage", "block"):
        rows = [use for (kind, _), use in memory.uses.items() if kind == depth]
        assert sum(use.weights for use in rows) == memory.weights
        assert max(use.alive for use in rows) == memory.inference
        # The image is nobody's row, and the output is alive without being kept.
        assert sum(use.kept for use in rows) == memory.kept - 3 * 224 * 224 * 4 - 1000 * 4
