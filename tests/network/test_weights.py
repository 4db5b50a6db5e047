"""Weights in, out and back: other libraries' checkpoints, our own files, URLs, and the commands."""

from __future__ import annotations

import argparse
import copy
import json
import os
import pickle
import socket
import stat
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from conftest import ROOT
from references import randomise
from safetensors.torch import load_file, save_file
from timm.models._manipulate import adapt_input_conv
from torch import Tensor, nn
from torchvision.models._api import get_model

import resnet_factory as rf
from resnet_factory.cli.main import main
from resnet_factory.network.weights import download, reader, writer

TINY = ("model.depths=[1,1]", "model.widths=[8,16]", "model.strides=[1,2]", "model.num_classes=5")


def tiny(*overrides: str) -> rf.Network:
    network = rf.create_model("resnet18", *TINY, *overrides)
    randomise(network)
    return network


def equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return list(ours) == list(theirs) and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.fixture
def whole(tmp_path: Path) -> tuple[rf.Network, Path]:
    """A tiny network and its file."""
    config = rf.compose("resnet18", *TINY)
    network = rf.build(rf.plan(config))
    randomise(network)
    return network, rf.save(network, config, tmp_path / "whole.safetensors")


# Other libraries --------------------------------------------------------------------------------

FAMILIES = {
    "timm/resnet18d": "",
    "timm/seresnet50": "",
    "timm/resnetblur18": "",
    "timm/resnest14d": "",
    "timm/resnetv2_18d": "timm_resnetv2",
    "timm/resnetv2_50x1_bit": "timm_resnetv2",
    "timm/regnety_002": "timm_regnet",
    "timm/regnetz_005": "timm_regnet",
    "timm/regnetv_040": "timm_regnetv",
    "timm/res2net50_14w_8s": "timm_res2net",
    "timm/skresnet18": "timm_sknet",
    "timm/nf_resnet26": "timm_nf_resnet",
    "torchvision/resnet18": "",
    "torchvision/resnext50_32x4d": "",
    "torchvision/regnet_x_400mf": "torchvision_regnet",
    "torchvision/regnet_y_400mf": "torchvision_regnet",
}


@pytest.mark.parametrize("reference", FAMILIES)
def test_there_and_back(reference: str, tmp_path: Path) -> None:
    """A reference's file loads to equal logits, and what is exported loads back into the reference."""
    library, name = reference.split("/")
    create = timm.create_model if library == "timm" else get_model
    theirs = create(name).eval()
    randomise(theirs)
    ours = rf.create_model(name).eval()
    save_file(theirs.state_dict(), tmp_path / "in.safetensors")
    report = rf.load_weights(ours, tmp_path / "in.safetensors")
    assert (report.keys, report.left) == (FAMILIES[reference], ())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))

    out = rf.export(ours, tmp_path / "out.pth", to=library)
    assert out.tensors == len(theirs.state_dict())
    fresh = create(name)
    fresh.load_state_dict(torch.load(tmp_path / "out.pth", weights_only=True), strict=True)
    assert equal(fresh.state_dict(), theirs.state_dict())
    assert list(torch.load(tmp_path / "out.pth")) == list(theirs.state_dict()), "in their order"


def _versioned(state: dict[str, Tensor]) -> OrderedDict[str, Tensor]:
    ordered = OrderedDict(state)
    ordered._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]
    return ordered


def _other(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: torch.zeros_like(value) for key, value in state.items()}


def _prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in state.items()}


WRAPPED: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "plain": dict,
    "ordered with metadata": _versioned,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
    "model": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
    "state_dict_ema": lambda state: {"state_dict": _other(state), "state_dict_ema": state},
    "model_ema": lambda state: {"model": _other(state), "model_ema": state},
    "module.": lambda state: _prefixed(state, "module."),
    "_orig_mod.module.": lambda state: _prefixed(state, "_orig_mod.module."),
    "module._orig_mod.": lambda state: _prefixed(state, "module._orig_mod."),
    "compiled stage": lambda state: {k.replace("layer1.", "layer1._orig_mod."): v for k, v in state.items()},
    "averaged": lambda state: {"n_averaged": torch.tensor(7), **_prefixed(state, "module.")},
    "Lightning": lambda state: {"state_dict": _prefixed(state, "model.backbone."), "epoch": 3},
    "filters": lambda state: {**state, "layer1.0.aa.filt": torch.ones(8, 1, 3, 3)},
}


@pytest.mark.parametrize("wrapping", WRAPPED)
@pytest.mark.parametrize("modern", [True, False], ids=["zip", "legacy"])
def test_wrapped_and_prefixed(wrapping: str, modern: bool, tmp_path: Path) -> None:
    theirs, ours = tiny(), tiny("model.zero_init_residual=true")
    randomise(theirs, seed=1)
    torch.save(
        WRAPPED[wrapping](theirs.state_dict()), tmp_path / "w.ckpt", _use_new_zipfile_serialization=modern
    )
    report = rf.load_weights(ours, tmp_path / "w.ckpt")
    assert equal(ours.state_dict(), theirs.state_dict())
    assert bool(report.done) == (wrapping not in ("plain", "ordered with metadata")), (
        "everything done is said"
    )


def test_entry_is_chosen_and_suggested(tmp_path: Path) -> None:
    theirs, ours = tiny(), tiny()
    randomise(theirs, seed=1)
    file = tmp_path / "both.pth"
    torch.save({"state_dict": theirs.state_dict(), "state_dict_ema": _other(theirs.state_dict())}, file)
    report = rf.load_weights(ours, file)
    assert report.done == ("weights taken from 'state_dict_ema'; the file also has 'state_dict'",)
    rf.load_weights(ours, file, entry="state_dict")
    assert equal(ours.state_dict(), theirs.state_dict())
    with pytest.raises(rf.ConfigError, match=r"unknown entry 'state_dct'.*did you mean 'state_dict'"):
        rf.load_weights(ours, file, entry="state_dct")


@pytest.mark.parametrize("versioned", [True, False])
def test_without_counters(versioned: bool, tmp_path: Path) -> None:
    """Checkpoints from before batch norm counted; torch itself refuses them where metadata says version 2."""
    theirs, ours = tiny(), tiny()
    randomise(theirs, seed=1)
    old = {
        key: value for key, value in theirs.state_dict().items() if not key.endswith("num_batches_tracked")
    }
    torch.save(_versioned(old) if versioned else old, tmp_path / "old.pth")
    ours.train()(torch.randn(2, 3, 32, 32))
    report = rf.load_weights(ours, tmp_path / "old.pth")
    assert equal(ours.state_dict(), theirs.state_dict())
    assert "counters (num_batches_tracked) that the file lacks start at 0" in report.done[0]


def test_other_classes_leave_exactly_the_classifier(tmp_path: Path) -> None:
    theirs = get_model("resnet18")
    randomise(theirs)
    torch.save(theirs.state_dict(), tmp_path / "r.pth")
    ours = rf.create_model("resnet18", "model.num_classes=10")
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    report = rf.load_weights(ours, tmp_path / "r.pth")
    assert report.left == ("fc.weight", "fc.bias")
    assert report.done == ("classifier 'fc' not loaded: 1000 classes in the file, 10 here",)
    for key, value in ours.state_dict().items():
        assert torch.equal(value, before[key] if key.startswith("fc.") else theirs.state_dict()[key]), key


@pytest.mark.parametrize("name", ["resnet18", "regnety_002", "resnetv2_50"])
def test_networks_and_files_without_classifier(name: str, tmp_path: Path) -> None:
    theirs, bare = timm.create_model(name), timm.create_model(name, num_classes=0)
    save_file(theirs.state_dict(), tmp_path / "classes.safetensors")
    save_file(bare.state_dict(), tmp_path / "bare.safetensors")
    headless, ours = rf.create_model(name, "model.num_classes=0"), rf.create_model(name)
    report = rf.load_weights(headless, tmp_path / "classes.safetensors")
    assert any("which the network does not use" in line and "fc" in line for line in report.done)
    assert rf.load_weights(headless, tmp_path / "bare.safetensors").left == ()
    assert rf.load_weights(ours, tmp_path / "bare.safetensors").left == ("fc.weight", "fc.bias")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(headless.eval()(x), bare.eval()(x))


def test_convolution_and_linear_classifiers_hold_the_same(tmp_path: Path) -> None:
    theirs = timm.create_model("resnetv2_50").eval()
    save_file(theirs.state_dict(), tmp_path / "v2.safetensors")
    ours = rf.create_model("resnetv2_50", "model/head=norm_act_linear").eval()
    report = rf.load_weights(ours, tmp_path / "v2.safetensors")
    assert "fc.weight reshaped from 1000x2048x1x1 to 1000x2048" in report.done
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("base", [1, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_stem_takes_other_channels(base: int, channels: int, tmp_path: Path) -> None:
    theirs = tiny(f"model.in_channels={base}")
    save_file(theirs.state_dict(), tmp_path / "in.safetensors")
    ours = tiny(f"model.in_channels={channels}")
    report = rf.load_weights(ours, tmp_path / "in.safetensors")
    expected = adapt_input_conv(channels, theirs.state_dict()["conv1.weight"].clone(), base_chans=base)
    assert torch.equal(ours.state_dict()["conv1.weight"], expected)
    assert report.tensors == len(ours.state_dict())
    assert bool(report.done) == (base != channels)


def test_kernels_of_images_are_inflated_to_volumes(tmp_path: Path) -> None:
    """A clip of equal frames gives what the image gave, where no frame is padded."""
    options = ("model.depths=1", "model.strides=1", "model.stem_pool=max")
    flat = rf.create_model("resnet18", *options).eval()
    rf.save(flat, tmp_path / "flat.safetensors")
    volume = rf.create_model("resnet18", *options, "model.dims=3").eval()
    report = rf.load_weights(volume, tmp_path / "flat.safetensors")
    assert "12 kernels inflated from images to volumes" in str(report)
    for name, weight in flat.state_dict().items():
        inflated = volume.state_dict()[name]
        if weight.ndim == 4:
            assert torch.equal(inflated, (weight[:, :, None] / inflated.shape[2]).expand_as(inflated))
        else:
            assert torch.equal(inflated, weight)
    image = torch.randn(1, 3, 24, 24)
    convolution, deep = flat.get_submodule("conv1"), volume.get_submodule("conv1")
    clip = image[:, :, None].expand(-1, -1, 9, -1, -1)
    assert torch.allclose(deep(clip)[:, :, 2], convolution(image), atol=1e-5)


def test_deep_stems_are_adapted_as_timm_does(tmp_path: Path) -> None:
    theirs = timm.create_model("resnet18d")
    torch.save(theirs.state_dict(), tmp_path / "d.pth")
    ours = rf.create_model("resnet18d", "model.in_channels=4", "model.num_classes=7")
    report = rf.load_weights(ours, tmp_path / "d.pth")
    assert report.left == ("fc.weight", "fc.bias")
    expected = adapt_input_conv(4, theirs.state_dict()["conv1.0.weight"])
    assert torch.equal(ours.state_dict()["conv1.0.weight"], expected)


# What does not fit ------------------------------------------------------------------------------


def test_a_mismatch_lists_everything_and_loads_nothing(tmp_path: Path) -> None:
    state = tiny().state_dict()
    state["layer1.0.conv3.weight"] = state.pop("layer1.0.conv1.weight")
    state["layer1.0.conv2.weight"] = torch.zeros(8, 8, 5, 5)
    state["layer2.0.bn1.weight"] = torch.zeros(16, dtype=torch.int64)
    save_file(state, tmp_path / "off.safetensors")
    ours = tiny()
    before = copy.deepcopy(ours.state_dict())
    with pytest.raises(rf.ConfigError) as caught:
        rf.load_weights(ours, tmp_path / "off.safetensors")
    said = [fault.message for fault in caught.value.faults]
    assert "1 missing, 1 unexpected, 2 misshapen; nothing was loaded" in said[0]
    assert said[1:] == [
        "missing 'layer1.0.conv1.weight'; nearest is 'layer1.0.conv3.weight'",
        "unexpected 'layer1.0.conv3.weight'; nearest is 'layer1.0.conv1.weight'",
        "misshapen 'layer1.0.conv2.weight' is 8x8x5x5 in the file, 8x8x3x3 here",
        "misshapen 'layer2.0.bn1.weight' holds torch.int64 in the file, torch.float32 here",
    ]
    assert equal(ours.state_dict(), before)


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    torch.save(get_model("resnet50").state_dict(), tmp_path / "r50.pth")
    with pytest.raises(rf.ConfigError) as caught:
        rf.load_weights(rf.create_model("resnet18"), tmp_path / "r50.pth")
    assert len(caught.value.faults) < 70
    assert any("more" in fault.message for fault in caught.value.faults)


def test_a_file_of_another_network_of_ours_says_so(whole: tuple[rf.Network, Path]) -> None:
    with pytest.raises(rf.ConfigError, match=r"the file was saved from 'resnet18'; load\('.*'\) rebuilds"):
        rf.load_weights(rf.create_model("resnet34"), whole[1])


def test_only_networks_that_say_their_plan(whole: tuple[rf.Network, Path]) -> None:
    with pytest.raises(TypeError, match="pass the wrapped network itself"):
        rf.load_weights(nn.DataParallel(tiny()), whole[1])  # type: ignore[arg-type]


# Our own files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet20", "resnetblur18", "regnetz_005", "skresnet18", "nf_resnet26"]
)
def test_a_file_alone_rebuilds_its_network(name: str, tmp_path: Path) -> None:
    config = rf.compose(name)
    network = rf.build(rf.plan(config))
    randomise(network)
    file = rf.save(network, config, tmp_path / "own.safetensors")
    again = rf.load(file)
    assert again.plan == network.plan
    assert (again.plan.name, again.plan.id) == (name, network.plan.id)
    assert equal(again.state_dict(), network.state_dict())
    assert not any(tensor.is_meta for tensor in (*again.parameters(), *again.buffers()))
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in network.parameters()]
    x = torch.randn(2, 3, 64, 64)
    for each in (again, network):
        each(x).sum().backward()
    with torch.no_grad():
        assert torch.equal(again.eval()(x), network.eval()(x))
    for ours, theirs in zip(again.parameters(), network.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)


def test_no_conf_and_no_hydra_are_needed(whole: tuple[rf.Network, Path], tmp_path: Path) -> None:
    """In a process of its own, loading opens no YAML and imports no Hydra."""
    program = """
import sys
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
import resnet_factory as rf
print(rf.load(sys.argv[1]).plan.id)
assert "hydra" not in sys.modules
assert not [file for file in opened if file.endswith(".yaml")], opened
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(whole[1])],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, whole[0].plan.id), done.stderr[-2000:]


def test_loading_initialises_nothing(whole: tuple[rf.Network, Path]) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    rf.load(whole[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_training_leaves_the_file_alone(whole: tuple[rf.Network, Path]) -> None:
    before = whole[1].read_bytes()
    network = rf.load(whole[1])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    assert whole[1].read_bytes() == before
    assert not equal(network.state_dict(), whole[0].state_dict())


def test_half_precision_and_channels_last_come_back(tmp_path: Path) -> None:
    config = rf.compose("resnet18", *TINY)
    network = rf.build(rf.plan(config)).to(torch.bfloat16)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    again = rf.load(rf.save(network, config, tmp_path / "half.safetensors"))
    assert {parameter.dtype for parameter in again.parameters()} == {torch.bfloat16}
    assert equal(again.state_dict(), network.state_dict())


def test_loading_into_a_network_on_the_meta_device(whole: tuple[rf.Network, Path], tmp_path: Path) -> None:
    with torch.device("meta"):
        network = rf.build(whole[0].plan)
    rf.load_weights(network, whole[1])
    assert equal(network.state_dict(), whole[0].state_dict())
    with torch.device("meta"):
        other = tiny("model.num_classes=9")
    with pytest.raises(rf.ConfigError, match=r"no values for fc.weight, fc.bias"):
        rf.load_weights(other, whole[1])


@pytest.mark.parametrize("packed", [False, True])
def test_tensors_begin_where_torchs_memory_does(packed: bool, tmp_path: Path) -> None:
    """Kernels sum in another order from other addresses: a mapped network must give the same bits."""
    config = rf.compose("regnetz_005")
    network = rf.build(rf.plan(config)).eval()
    randomise(network)
    file = rf.save(network, config, tmp_path / "own.safetensors")
    if packed:  # as other writers do, at any address
        save_file(dict(load_file(file)), file, dict(reader.read_weights_file(file).metadata))
    else:
        mapped = reader.read_weights_file(file).tensors
        assert all(t.data_ptr() % 64 == 0 for t in mapped.values() if t.nbytes % 64 == 0)
    again = rf.load(file).eval()
    assert all(tensor.data_ptr() % 64 == 0 for tensor in again.state_dict().values())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(x), network(x))


def test_one_network_gives_one_file_that_others_may_read(tmp_path: Path) -> None:
    config = rf.compose("resnet18", *TINY)
    network = rf.build(rf.plan(config))
    mask = os.umask(0o022)
    try:
        files = [rf.save(network, config, tmp_path / f"{i}.safetensors") for i in range(4)]
        files += [rf.export(network, tmp_path / f"{i}.pth", to="timm").file for i in range(2)]
    finally:
        os.umask(mask)
    assert len({file.read_bytes() for file in files[:4]}) == 1
    assert len({file.read_bytes() for file in files[4:]}) == 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o644}
    assert equal(dict(sorted(load_file(files[0]).items())), dict(sorted(network.state_dict().items())))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_failed_write_leaves_the_old_file(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny()
    file = tmp_path / f"w{suffix}"
    rf.export(network, file, to="timm")
    before = file.read_bytes()

    def fail(tensors: Any, *given: Any) -> None:
        stream = tensors if suffix == ".safetensors" else given[0]
        stream.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(writer, "_write_safetensors", fail)
    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(rf.ConfigError, match="cannot be written: No space left on device"):
        rf.export(network, file, to="timm")
    assert file.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]


def test_saving_needs_the_networks_own_config(tmp_path: Path) -> None:
    with pytest.raises(rf.ConfigError, match="not what 'resnet34' plans"):
        rf.save(rf.create_model("resnet18"), rf.compose("resnet34"), tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_changed_network_is_not_saved_as_its_plan(tmp_path: Path) -> None:
    """What `load` could not rebuild is refused when it is saved, not when it is needed."""
    config = rf.compose("resnet18", *TINY)
    network = rf.build(rf.plan(config))
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    again = rf.load(rf.save(synced, config, tmp_path / "synced.safetensors"))
    assert equal(again.state_dict(), synced.state_dict())
    network.fc = nn.Linear(16, 7)
    with pytest.raises(rf.ConfigError, match=r"no longer what 'resnet18' plans: fc\.weight \[7"):
        rf.save(network, config, tmp_path / "x.safetensors")
    with pytest.raises(TypeError, match="pass the wrapped network itself"):
        rf.save(nn.DataParallel(network), config, tmp_path / "x.safetensors")  # type: ignore[call-overload]
    assert not (tmp_path / "x.safetensors").exists()


# From elsewhere ---------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which this machine serves it."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(folder))

        def end_headers(self) -> None:
            # What the hub says of a file besides its length.
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", '"0123456789abcdef"')
            super().end_headers()

        def log_message(self, format: str, *given: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_urls_are_fetched_once(served: tuple[Path, str]) -> None:
    folder, address = served
    theirs, ours = tiny(), tiny()
    randomise(theirs, seed=1)
    torch.save(theirs.state_dict(), folder / "w.pth")
    rf.load_weights(ours, f"{address}/w.pth?download=1")
    assert equal(ours.state_dict(), theirs.state_dict())
    (folder / "w.pth").unlink()
    rf.load_weights(ours, f"{address}/w.pth")


def test_a_hash_in_the_name_is_held(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    (folder / "w-0123abcd.pth").write_bytes(b"something else")
    with pytest.raises(rf.ConfigError, match="invalid hash value"):
        rf.load_weights(tiny(), f"{address}/w-0123abcd.pth")
    assert not list((tmp_path / "cache" / "hub" / "checkpoints").glob("*"))


def test_a_server_that_falls_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(download, "SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/w.pth"
        with pytest.raises(rf.ConfigError, match=r"cannot be fetched: .*timed out"):
            rf.load_weights(tiny(), address)
    assert socket.getdefaulttimeout() is None


def test_what_cannot_be_fetched_says_so(served: tuple[Path, str]) -> None:
    _, address = served
    with pytest.raises(rf.ConfigError, match="cannot be fetched: HTTP Error 404"):
        rf.load_weights(tiny(), f"{address}/none.pth")
    with pytest.raises(rf.ConfigError, match=r"cannot be fetched: .*refused"):
        rf.load_weights(tiny(), "http://127.0.0.1:1/w.pth")
    with pytest.raises(rf.ConfigError, match="does not name a file"):
        rf.load_weights(tiny(), "http://127.0.0.1:1/")
    with pytest.raises(rf.ConfigError, match="is not a hub name"):
        rf.load_weights(tiny(), "hf-hub:just_a_name")


def test_hub_names_are_fetched(served: tuple[Path, str], tmp_path: Path) -> None:
    """Against a server that answers as the hub does; the second time without it."""
    folder, address = served
    place = folder / "someone" / "tiny" / "resolve" / "main"
    place.mkdir(parents=True)
    save_file(tiny().state_dict(), place / "model.safetensors")
    settings = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hub"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "resnet_factory.cli", "model=resnet18", *TINY]

    def run(name: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, f"weights='{name}'"], env={**os.environ, **settings, **more},
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip

    for more in ({}, {"HF_HUB_OFFLINE": "1"}):
        done = run("hf-hub:someone/tiny", **more)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "loaded: " in done.stdout
    done = run("hf-hub:someone/other", HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    assert "'hf-hub:someone/other' cannot be fetched" in done.stderr
    assert "Traceback" not in done.stderr


# Networks as Python objects ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["resnet18", "resnetblur18", "res2net50_26w_4s", "skresnet18", "resnetv2_50d_evos"]
)
def test_copies(name: str) -> None:
    network = rf.create_model(name).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(x)
        for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert copied.plan == network.plan
            assert torch.equal(copied(x), expected)


def test_a_pickled_plan_is_found_in_another_process(tmp_path: Path) -> None:
    """Hashes of text differ from process to process; a plan must not carry its own along."""
    plan = rf.plan(rf.compose("resnet18"))
    assert plan in {plan}
    (tmp_path / "plan").write_bytes(pickle.dumps(plan))
    program = """
import pickle, sys
import resnet_factory as rf
assert pickle.load(open(sys.argv[1], "rb")) in {rf.plan(rf.compose("resnet18"))}
"""
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "plan")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "4711"}, check=True,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["resnet18", "resnetblur18", "nf_resnet26", "resnetv2_50d_frn"])
def test_networks_are_made_on_the_device_asked_for(name: str) -> None:
    plan = rf.plan(rf.compose(name))
    with torch.device("meta"):
        network = rf.build(plan)
        assert network(torch.empty(1, 3, 64, 64)).is_meta
    assert all(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))


# The command line -------------------------------------------------------------------------------


def test_build_and_export_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, theirs = tmp_path / "own.safetensors", tmp_path / "theirs.safetensors"
    assert main(["build", "model=regnety_002", f"save={own}"]) == 0
    assert main(["export", f"weights={own}", "to=timm", f"file={theirs}"]) == 0
    assert "names of timm, written with the key map 'timm_regnet'" in capsys.readouterr().out
    timm.create_model("regnety_002").load_state_dict(load_file(theirs), strict=True)
    assert main(["model=regnety_002", f"weights={theirs}", "model.num_classes=3"]) == 0
    out = capsys.readouterr().out
    assert "loaded: 316 tensors" in out
    assert "classifier 'fc' not loaded: 1000 classes in the file, 3 here" in out
    again = tmp_path / "again.pth"
    assert main(["export", "model=regnety_002", f"weights={theirs}", "to=pycls", f"file={again}"]) == 0
    assert "converted from RGB to BGR" in capsys.readouterr().out
    assert main(["model=regnety_002", f"weights={theirs}", "keys=timm_regnet"]) == 0


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["weights=none.pth"], "command line 'weights=none.pth': weights: 'none.pth' does not exist"),
        (["weights=3"], "expected a file name, found 3"),
        (["export"], "weights: is missing; export needs weights=…"),
        (["export", "weights=none.pth", "file=x.pth", "to=timm"], "'none.pth' does not exist"),
        (["export", "weights=none.pth", "file=no/x.pth", "to=timm"], "there is no folder"),
        (["model=resnet18", "weights=CUT"], "not a whole safetensors file"),
        (["model=resnet34", "weights=OWN"], "nothing was loaded"),
        (["model=resnet18", "weights=OWN", "keys=tim"], "unknown key map 'tim'"),
        (
            ["export", "weights=OWN", "file=x.pth", "to=tim"],
            "command line 'to=tim': to: unknown format or library 'tim'",
        ),
    ],
)
def test_mistakes_exit_with_2(
    command: list[str], message: str, whole: tuple[rf.Network, Path], capsys: pytest.CaptureFixture[str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole[1].read_bytes()[:-100])
    given = [part.replace("OWN", str(whole[1])).replace("CUT", str(cut)) for part in command]
    assert main(given) == 2
    caught = capsys.readouterr()
    assert message in caught.err
    assert "Traceback" not in caught.err
    assert not caught.out


@pytest.mark.parametrize("name", ["resnetv2_18", "resnetv2_50x1_bit", "nf_resnet26", "resnet18"])
def test_settings_of_a_folder_are_timms(name: str, tmp_path: Path) -> None:
    """Normalisation, first convolution and classifier in config.json are those that timm has for the name."""
    with torch.device("meta"):
        theirs: Any = timm.create_model(name)
    rf.export(rf.create_model(name), tmp_path / "model.safetensors", to="timm")
    stated = json.loads((tmp_path / "config.json").read_text())
    settings = stated["pretrained_cfg"]
    for key in ("mean", "std", "input_size"):
        assert tuple(settings[key]) == tuple(theirs.pretrained_cfg[key])
    assert theirs.get_submodule(settings["classifier"]) is theirs.get_classifier()
    assert settings["first_conv"] == theirs.pretrained_cfg["first_conv"]
    assert stated["num_classes"] == theirs.num_classes
    own = rf.create_model(name, "model.image_mean=[0.1,0.2,0.3]", "model.image_std=0.4")
    rf.export(own, tmp_path / "model.safetensors", to="timm")
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    settings = theirs.pretrained_cfg
    assert (tuple(settings["mean"]), tuple(settings["std"])) == ((0.1, 0.2, 0.3), (0.4, 0.4, 0.4))


@pytest.mark.parametrize("name", ["resnet18", "regnety_002", "resnetv2_18"])
def test_timm_reads_a_folder(name: str, tmp_path: Path) -> None:
    """timm builds the network from the folder alone, with our weights, classes and input channels."""
    ours = rf.create_model(name, num_classes=7, in_channels=3).eval()
    done = rf.export(ours, tmp_path / "model.safetensors", to="timm")
    assert any("config.json" in line for line in done.done)
    theirs: Any = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
    assert theirs.pretrained_cfg["input_size"] == (3, 224, 224)
    assert theirs.num_classes == theirs.pretrained_cfg["num_classes"] == 7
    first = theirs.get_submodule(theirs.pretrained_cfg["first_conv"])
    assert isinstance(first, torch.nn.Conv2d)
    assert theirs.get_submodule(theirs.pretrained_cfg["classifier"]) is theirs.get_classifier()


def test_no_config_for_what_timm_does_not_have(tmp_path: Path) -> None:
    changed = rf.create_model("resnet18", "model.act=silu")
    done = rf.export(changed, tmp_path / "model.safetensors", to="timm")
    assert "config.json not written: the network is not the model that timm calls 'resnet18'" in done.done
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    rf.export(rf.create_model("resnet18"), tmp_path / "other.safetensors", to="timm")
    assert not (tmp_path / "config.json").exists()
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(rf.ConfigError, match="already exists and contains no JSON"):
        rf.export(rf.create_model("resnet18"), tmp_path / "model.safetensors", to="timm")
