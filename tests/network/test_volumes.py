"""Sequences and volumes: torchvision's video ResNets, MONAI's, and published 1-D networks, bit for bit."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from references import randomise
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import video

import resnet_factory as rf

with warnings.catch_warnings():  # of torch.jit, which parts of MONAI use
    warnings.simplefilter("ignore")
    monai = importlib.import_module("monai.networks.nets.resnet")

VIDEO = ("r3d_18", "mc3_18", "r2plus1d_18")
SIZES = {1: (130,), 2: (40, 33), 3: (20, 33, 24)}
"""Sides of small images, uneven so that an exchange of axes shows."""


def compare(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """Outputs in train and eval mode, running statistics after the step, and the gradient of the input."""
    results = []
    for model in (ours, theirs):
        image = x.clone().requires_grad_()
        trained = model.train()(image)
        trained.square().sum().backward()
        with torch.no_grad():
            results.append((trained, image.grad, model.eval()(x), *model.buffers()))
    for mine, other in zip(*results, strict=True):
        assert torch.equal(mine, other)


def multiply_adds(model: nn.Module, x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(x)
    total: int = counter.get_total_flops()
    return total // 2


@pytest.mark.parametrize("name", VIDEO)
def test_a_video_network_equals_torchvisions(name: str) -> None:
    torch.manual_seed(7)
    reference = getattr(video, name)()
    torch.manual_seed(7)
    ours = rf.create_model(name)
    theirs, mine = reference.state_dict(), ours.state_dict()
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs), "same seed, same initial weights"
    randomise(reference)
    ours.load_state_dict(reference.state_dict(), strict=True)
    x = torch.randn(2, 3, 8, 33, 40)
    compare(ours, reference, x)
    cost = rf.cost(ours.plan, image=(3, 8, 33, 40))
    assert cost.params == sum(parameter.numel() for parameter in reference.parameters())
    assert cost.macs == multiply_adds(reference, x[:1])


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("depth", [10, 18, 50])
def test_a_network_equals_monais(depth: int, dims: int) -> None:
    torch.manual_seed(1)
    reference = getattr(monai, f"resnet{depth}")(spatial_dims=dims, n_input_channels=2)
    ours = rf.create_model(
        f"monai_resnet{depth}", f"model.dims={dims}", "model.in_channels=2", "model.image_size=64"
    )
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in reference.state_dict().items()
    }
    randomise(reference)
    ours.load_state_dict(reference.state_dict(), strict=True)
    x = torch.randn(2, 2, *SIZES[dims])
    compare(ours, reference, x)
    cost = rf.cost(ours.plan, image=(2, *SIZES[dims]))
    assert cost.params == sum(parameter.numel() for parameter in reference.parameters())
    assert cost.macs == multiply_adds(reference, x[:1])


@pytest.mark.parametrize("depth", [34, 101, 152, 200])
def test_deep_networks_have_monais_tensors(depth: int) -> None:
    with torch.device("meta"):
        reference = getattr(monai, f"resnet{depth}")(spatial_dims=3, n_input_channels=3)
        ours = rf.create_model(f"monai_resnet{depth}")
    theirs = {key: value.shape for key, value in reference.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == theirs


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("depth", [10, 18, 34, 50, 101, 152, 200])
def test_haras_networks_are_monais_with_a_stride_in_space(depth: int, shortcut: str) -> None:
    options = ["model/shortcut=zero_pad"] if shortcut == "A" else []
    ours = rf.create_model(f"hara_resnet{depth}", *options, device="meta" if depth > 50 else None)
    with torch.device("meta" if depth > 50 else "cpu"):
        reference = getattr(monai, f"resnet{depth}")(
            spatial_dims=3, conv1_t_stride=(1, 2, 2), shortcut_type=shortcut, bias_downsample=False
        )
    theirs = {key: value.shape for key, value in reference.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == theirs
    if depth <= 50:
        randomise(reference)
        ours.load_state_dict(reference.state_dict(), strict=True)
        x = torch.randn(2, 3, *SIZES[3])
        # MONAI's option A detaches the shortcut (`out.data`), so only its outputs are what it describes.
        for mode in (True, False):
            with torch.no_grad():
                assert torch.equal(ours.train(mode)(x), reference.train(mode)(x))


class TimeSeriesResNet(nn.Module):
    """Wang et al. 2017, fig. 1c, written out as its authors' Keras code does it."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList()
        for width in (64, 128, 128):
            part = nn.ModuleList()
            before = channels
            for kernel in (8, 5, 3):
                part.append(nn.Conv1d(before, width, kernel))
                part.append(nn.BatchNorm1d(width, 1e-3, 0.01))
                before = width
            if channels != width:
                part.append(nn.Conv1d(channels, width, 1))
            part.append(nn.BatchNorm1d(width, 1e-3, 0.01))
            self.parts.append(part)
            channels = width
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            assert isinstance(part, nn.ModuleList)
            y = x
            for i in range(3):
                y = part[2 * i + 1](padded(part[2 * i], y))  # type: ignore[arg-type]
                y = functional.relu(y) if i < 2 else y
            for layer in part[6:]:
                x = layer(x)
            x = functional.relu(y + x)
        result: Tensor = self.fc(x.mean(dim=2))
        return result


def padded(convolution: nn.Conv1d, x: Tensor) -> Tensor:
    """Keras' padding `same`: ceil(length / stride) positions, the larger half of the zeros behind."""
    (stride,), (kernel,) = convolution.stride, convolution.kernel_size
    zeros = max((math.ceil(x.shape[2] / stride) - 1) * stride + kernel - x.shape[2], 0)
    result: Tensor = convolution(functional.pad(x, (zeros // 2, zeros - zeros // 2)))
    return result


class EcgResNet(nn.Module):
    """Hannun et al. 2019: 16 blocks of two convolutions, every second one halves the rate."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(1, 32, 16), nn.BatchNorm1d(32, 1e-3, 0.01)
        self.blocks = nn.ModuleList()
        before = 32
        for index in range(16):
            width = 32 * 2 ** (index // 4)
            block = nn.ModuleDict()
            if index:
                block["norm1"] = nn.BatchNorm1d(before, 1e-3, 0.01)
            block["conv1"] = nn.Conv1d(before, width, 16, stride=1 + index % 2)
            block["norm2"] = nn.BatchNorm1d(width, 1e-3, 0.01)
            block["conv2"] = nn.Conv1d(width, width, 16)
            self.blocks.append(block)
            before = width
        self.last = nn.BatchNorm1d(before, 1e-3, 0.01)
        self.dense = nn.Conv1d(before, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(padded(self.first, x)))
        for index, block in enumerate(self.blocks):
            assert isinstance(block, nn.ModuleDict)
            y = functional.relu(block["norm1"](x)) if index else x
            y = padded(block["conv1"], y)  # type: ignore[arg-type]
            y = padded(block["conv2"], functional.relu(block["norm2"](y)))  # type: ignore[arg-type]
            x = functional.max_pool1d(x, 2, ceil_mode=True) if index % 2 else x
            x = y + functional.pad(x, (0, 0, 0, y.shape[1] - x.shape[1]))
        result: Tensor = self.dense(functional.relu(self.last(x)))
        return result


def in_order(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy parameters and buffers in their order of registration."""

    def tensors(model: nn.Module) -> Iterator[Tensor]:
        return iter(model.state_dict().values())

    for mine, other in zip(tensors(ours), tensors(theirs), strict=True):
        mine.copy_(other)


@pytest.mark.parametrize(
    ("name", "made", "length"),
    [
        ("time_series_resnet", lambda: TimeSeriesResNet(1, 10), 97),
        ("ecg_resnet34", lambda: EcgResNet(12), 512),
        ("ecg_resnet34", lambda: EcgResNet(12), 515),
    ],
)
def test_a_published_1d_network(name: str, made: Callable[[], nn.Module], length: int) -> None:
    reference = made()
    randomise(reference)
    ours = rf.create_model(name, *(["model.block.dropout=0"] if name.startswith("ecg") else []))
    in_order(ours, reference)
    compare(ours, reference, torch.randn(3, 1, length))
