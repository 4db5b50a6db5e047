"""Images that do not fit: the message names the key that sets their size, of the command or of the model."""

from __future__ import annotations

import pytest
from conftest import ROOT

from resnet_factory.cli import main

POOLFORMER = (
    "model=poolformer_s12",
    "model.dims=3",
    "--config-dir",
    f"{ROOT}/examples/families/poolformer_s12",
)


@pytest.mark.parametrize("key", ["model.image_size", "input.size"])
def test_the_key_that_sets_the_size_is_named(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["describe", *POOLFORMER, f"{key}=32"]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"command line '{key}=32': {key}: 32x32x32 is too small")
    assert len(message.splitlines()) == 1
