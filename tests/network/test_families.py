"""Families that are not in the zoo, each written here in YAML alone, bit-equal to timm's.

An inverted-residual net, a large-kernel depthwise net with LayerNorm and transitions, and a net with a
stem of four convolutions: what a user would bring.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
from references import randomise

import resnet_factory as rf

MOBILENET = {
    "model/stem/one.yaml": """\
# a strided 3x3 convolution
width: 16
layers:
  - conv: {kernel: 3, to: width, stride: 2}
  - norm
  - act
""",
    "model/block/inverted.yaml": """\
# inverted residual: expand, depthwise 3x3, project without activation (Sandler et al. 2018, fig. 4d)
expand: 6
mid: in * expand
out: width
body:
  - conv: {to: mid, when: expand > 1}
  - norm: {when: expand > 1}
  - act: {when: expand > 1}
  - conv: {kernel: 3, to: mid, stride: stride, groups: mid}
  - norm
  - act
  - conv: {to: out}
  - norm
""",
    "model/mobilenetv2_050.yaml": """\
# MobileNetV2 at half width (Sandler et al. 2018, table 2)
defaults:
  - resnet18
  - override stem: one
  - override block: inverted
  - override shortcut: identity_only
  - override head: conv_linear
  - _self_
depths: [1, 2, 3, 4, 3, 3, 1]
widths: [8, 16, 16, 32, 48, 80, 160]
strides: [1, 2, 2, 2, 1, 2, 1]
act: relu6
block: {expand: [1, 6, 6, 6, 6, 6, 6]}
head: {width: 1280}
""",
}
CONVNEXT = {
    "model/stem/patches.yaml": """\
# non-overlapping 4x4 patches (Liu et al. 2022, section 2.2)
width: 40
layers:
  - conv: {kernel: 4, to: width, stride: 4, padding: 0}
  - norm
""",
    "model/block/convnext.yaml": """\
# depthwise 7x7, norm, expand, act, project, LayerScale (Liu et al. 2022, fig. 4)
out: width
body:
  - conv: {kernel: 7, to: out, groups: out}
  - norm
  - conv: {to: 4 * out}
  - act
  - conv: {to: out}
  - scale: {init: 1.0e-6}
""",
    "model/transition/norm_conv.yaml": """\
# norm and a strided 2x2 convolution between stages (Liu et al. 2022, section 2.6)
layers:
  - norm: {when: stride > 1 or in != width}
  - conv: {kernel: 2, to: width, stride: stride, padding: 0, when: stride > 1 or in != width}
""",
    "model/head/pool_norm.yaml": """\
# pool, norm, linear
layers:
  - global_pool
  - norm
  - flatten
  - linear: {to: num_classes}
""",
    "model/convnext_atto.yaml": """\
# ConvNeXt-Atto (Liu et al. 2022; timm)
defaults:
  - resnet18
  - override stem: patches
  - override block: convnext
  - override transition: norm_conv
  - override head: pool_norm
  - override norm: layer
  - _self_
depths: [2, 2, 6, 2]
widths: [40, 80, 160, 320]
act: gelu
conv: {bias: true}
""",
}
QUAD = {
    "model/stem/quad.yaml": """\
# four 3x3 convolutions, the first two bare (timm's "quad2" stem)
width: 128
layers:
  - conv: {kernel: 3, to: width // 8, stride: 2}
  - conv: {kernel: 3, to: width // 4}
  - conv: {kernel: 3, to: width // 2}
  - norm: {name: bn3}
  - act
  - conv: {kernel: 3, to: width, stride: 2}
  - norm: {name: bn4}
  - act
""",
    "model/block/by_ratio.yaml": """\
# a bottleneck whose inner width is a share of its output, in groups of a given width
ratio: 0.25
group_width: 32
mid: divisible(width * ratio, 8)
out: width
body:
  - conv: {to: mid}
  - norm
  - act
  - conv: {kernel: 3, to: mid, stride: stride, groups: mid // group_width}
  - norm
  - act
  - conv: {to: out}
  - norm
post: [act]
""",
    "model/resnet51q.yaml": """\
# ResNet-51-Q (timm): a four-convolution stem, depthwise last stage
defaults:
  - resnet18
  - override stem: quad
  - override block: by_ratio
  - override head: conv_linear
  - _self_
depths: [2, 4, 6, 4]
widths: [256, 512, 1536, 1536]
act: silu
block:
  ratio: [0.25, 0.25, 0.25, 1]
  group_width: [32, 32, 32, 1]
head: {width: 2048}
""",
}


def convnext_key(key: str) -> str:
    """timm's name of a ConvNeXt tensor -> ours."""
    for pattern, ours in (
        (r"^stem\.0", "conv1"), (r"^stem\.1", "bn1"), (r"^head\.norm", "bn2"), (r"^head\.fc", "fc"),
        (r"gamma$", "scale1.weight"), (r"conv_dw", "conv1"), (r"mlp\.fc1", "conv2"), (r"mlp\.fc2", "conv3"),
        (r"\.norm\.", ".bn1."), (r"downsample", "transition"), (r"\.blocks\.", "."),
    ):  # fmt: skip
        key = re.sub(pattern, ours, key)
    return re.sub(r"^stages\.(\d)", lambda found: f"layer{int(found[1]) + 1}", key)


def quad_key(key: str) -> str:
    """timm's name of a ResNet-51-Q tensor -> ours."""
    for pattern, ours in (
        (r"^stem\.conv([12])\.", r"conv\1."), (r"^stem\.conv(\d)\.(conv|bn)", r"\2\1"),
        (r"shortcut\.conv", "downsample.0"), (r"shortcut\.bn", "downsample.1"),
        (r"conv(\d)_\w+\.(conv|bn)", r"\2\1"), (r"final_conv\.(conv|bn)", r"\1_last"), (r"head\.", ""),
    ):  # fmt: skip
        key = re.sub(pattern, ours, key)
    return re.sub(r"^stages\.(\d)", lambda found: f"layer{int(found[1]) + 1}", key)


@pytest.mark.parametrize(
    ("name", "files"),
    [("mobilenetv2_050", MOBILENET), ("convnext_atto", CONVNEXT), ("resnet51q", QUAD)],
    ids=["mobilenetv2_050", "convnext_atto", "resnet51q"],
)
def test_a_family_in_yaml_alone_equals_timms(name: str, files: dict[str, str], tmp_path: Path) -> None:
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text, encoding="utf-8")
    network = rf.create_model(name, config_dir=tmp_path)
    other = timm.create_model(name)
    randomise(other)
    theirs = other.state_dict()
    if name == "mobilenetv2_050":  # the same order, so no names are needed
        renamed = dict(zip(network.state_dict(), theirs.values(), strict=True))
    else:
        renamed = {
            (convnext_key if "next" in name else quad_key)(key): value for key, value in theirs.items()
        }
    network.load_state_dict(renamed, strict=True)
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(network.train()(image), other.train()(image))
        assert torch.equal(network.eval()(image), other.eval()(image))
    cost = rf.cost(network.plan)
    assert cost.params == sum(parameter.numel() for parameter in other.parameters())
