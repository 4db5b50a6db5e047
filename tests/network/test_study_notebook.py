"""The study notebook the project grew from: its five networks, as it wrote them, equal ours bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import resnet_factory as rf


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; conv, norm, relu, conv, norm, add, relu."""

    def __init__(self, cin: int, cout: int, stride: int, down: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.down_sample = down
        if down:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, 2, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x: Tensor) -> Tensor:
        kept = x.clone()
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        if self.down_sample:
            kept = self.downsample(kept)
        x += kept
        result: Tensor = self.relu(x)
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1; relu after the last norm, before the addition, and again after it."""

    def __init__(self, cin: int, mid: int, stride: int, down: bool, down_stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, mid, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(mid)
        self.conv2 = nn.Conv2d(mid, mid, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv3 = nn.Conv2d(mid, mid * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(mid * 4)
        self.relu = nn.ReLU(inplace=True)
        self.down_sample = down
        if down:
            self.downsample = nn.Sequential(
                nn.Conv2d(cin, mid * 4, 1, down_stride, bias=False), nn.BatchNorm2d(mid * 4)
            )

    def forward(self, x: Tensor) -> Tensor:
        kept = x.clone()
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.relu(self.bn3(self.conv3(x)))
        if self.down_sample:
            kept = self.downsample(kept)
        x += kept
        result: Tensor = self.relu(x)
        return result


class ResNet(nn.Module):
    """The notebook's network: one flat sequence of blocks."""

    def __init__(self, depths: list[int], bottleneck: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        blocks: list[nn.Module] = []
        channels = 64
        for stage, depth in enumerate(depths):
            width = 64 * 2**stage
            for block in range(depth):
                first = block == 0
                stride = 2 if first and stage else 1
                if bottleneck:
                    blocks.append(Bottleneck(channels, width, stride, first, stride))
                    channels = width * 4
                else:
                    blocks.append(BasicBlock(channels, width, stride, first and stage > 0))
                    channels = width
        self.resnet = nn.Sequential(*blocks)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = torch.flatten(self.avgpool(self.resnet(x)), 1)
        result: Tensor = self.fc(x)
        return result


NETWORKS = {
    "resnet18": ([2, 2, 2, 2], False),
    "resnet34": ([3, 4, 6, 3], False),
    "notebook_resnet50": ([3, 4, 6, 3], True),
    "notebook_resnet101": ([3, 4, 23, 3], True),
    "notebook_resnet152": ([3, 8, 36, 3], True),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_equal_the_notebooks(name: str) -> None:
    torch.manual_seed(0)
    notebook = ResNet(*NETWORKS[name])
    ours = rf.create_model(name)
    tensors = [value.clone() for value in notebook.state_dict().values()]
    keys = list(ours.state_dict())
    assert len(keys) == len(tensors)
    ours.load_state_dict(dict(zip(keys, tensors, strict=True)), strict=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours.train()(x), notebook.train()(x))
        assert torch.equal(ours.eval()(x), notebook.eval()(x))


def test_relu_before_the_addition_is_another_network() -> None:
    """It has ResNet-50's parameters and computes something else."""
    torch.manual_seed(0)
    plain, extra = rf.create_model("resnet50"), rf.create_model("notebook_resnet50")
    extra.load_state_dict(plain.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(plain.eval()(x), extra.eval()(x))
