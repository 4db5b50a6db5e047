"""Built networks are ordinary modules: they compile, export, copy, move and can be hooked and edited."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import resnet_factory as rf

SMALL = ["resnet18", "resnet50", "resnet20", "plain20", "preact_resnet50", "resnet50d"]


def small(name: str) -> nn.Module:
    """A network of one block per stage."""
    torch.manual_seed(0)
    return rf.create_model(name, "model.depths=1").eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    """One small image."""
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SMALL)
def test_compiles_and_exports_whole(name: str, image: torch.Tensor) -> None:
    network = small(name)
    with torch.no_grad():
        expected = network(image)
        assert torch.equal(torch.compile(network, fullgraph=True, backend="eager")(image), expected)
        exported = torch.export.export(network, (image,)).module()
        assert torch.equal(exported(image), expected)


@pytest.mark.parametrize("name", SMALL)
def test_copies_and_casts(name: str, image: torch.Tensor) -> None:
    network = small(name)
    with torch.no_grad():
        expected = network(image)
        assert torch.equal(copy.deepcopy(network)(image), expected)
        last = network.to(memory_format=torch.channels_last)(  # type: ignore[call-overload]
            image.to(memory_format=torch.channels_last)
        )
        torch.testing.assert_close(last, expected, rtol=1e-3, atol=1e-4)
        assert network.to(torch.bfloat16)(image.bfloat16()).dtype == torch.bfloat16


def test_builds_on_meta_and_materialises() -> None:
    with torch.device("meta"):
        network = rf.create_model("resnet18")
    assert all(tensor.is_meta for tensor in network.state_dict().values())
    network.load_state_dict(rf.create_model("resnet18").state_dict(), assign=True)
    assert network.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 1000)


@pytest.mark.parametrize("name", SMALL)
def test_hooks_see_what_a_layer_gave(name: str, image: torch.Tensor) -> None:
    """No later layer changes a tensor in place: every output kept by a hook stays as it was."""
    network = small(name)
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _m, _i, out: kept.append((out, out.clone())))
    with torch.no_grad():
        network(image)
    assert kept
    assert all(torch.equal(output, copied) for output, copied in kept)


def test_replaced_children_take_effect(image: torch.Tensor) -> None:
    network = small("resnet18")
    with torch.no_grad():
        before = network(image)
        network.get_submodule("layer1.0").bn1 = nn.Identity()
        assert not torch.equal(network(image), before)
    names = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    assert all(isinstance(converted.get_submodule(name), nn.SyncBatchNorm) for name in names)


def test_trains(image: torch.Tensor) -> None:
    network = small("resnet20").train()
    loss = network(image).logsumexp(1).sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_gpu_gives_the_same(image: torch.Tensor) -> None:
    """Runs where there is a GPU; elsewhere the same network on the CPU stands for it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = small("resnet50")
    with torch.no_grad():
        expected = network(image)
        found = copy.deepcopy(network).to(device)(image.to(device)).cpu()
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


def test_drop_path_drops_whole_samples() -> None:
    network = rf.create_model("resnet18", "model/drop_path=linear", "model.drop_path.rate=0.5")
    drop = network.get_submodule("layer4.1.drop_path")
    torch.manual_seed(0)
    out = drop(torch.ones(64, 4, 2, 2))
    assert set(out.unique().tolist()) == {0.0, 2.0}
    assert all(sample.unique().numel() == 1 for sample in out)
    assert torch.equal(drop.eval()(torch.ones(3, 1)), torch.ones(3, 1))


def test_zero_pad_shortcut_keeps_every_second_position() -> None:
    network = small("resnet20")
    pad = network.get_submodule("layer2.0.downsample")
    x = torch.randn(1, 16, 8, 8)
    out = pad(x)
    assert torch.equal(out[:, :16], x[:, :, ::2, ::2])
    assert not out[:, 16:].any()
