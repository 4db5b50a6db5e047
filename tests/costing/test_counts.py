"""Published parameter and multiply-add counts, one table with its sources."""

from __future__ import annotations

import pytest

import resnet_factory as rf

# He et al. 2015, section 4.2 and its reimplementations; options A, B, C of table 3 counted layer by layer;
# pycls model_complexity.json (its MACs less the classifier's bias).
PARAMS = {
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet1202": 19_421_274,
    "plain20": 269_722,
    "plain56": 853_018,
    "plain18": 11_515_688,
    "plain34": 21_623_848,
    "resnet34 model/shortcut=zero_pad": 21_623_848,
    "resnet34": 21_797_672,
    "resnet34 model/shortcut=projection_always": 22_716_840,
    "resnet50 model/shortcut=zero_pad": 22_780_456,
    "resnet50 model/shortcut=projection_always": 40_128_552,
    "resnet56 model/shortcut=projection": 855_770,
    "resnet110 model/shortcut=projection": 1_730_714,
    "resnet50d": 25_576_264,
    "resnet50 model/norm=group": 25_557_032,
    "resnet50 model.num_classes=0": 25_557_032 - 2_049_000,
    "resnet50 model.in_channels=1": 25_557_032 - 2 * 7 * 7 * 64,
}
MACS = {
    "resnet20": 40_551_040,
    "resnet32": 68_862_592,
    "resnet44": 97_174_144,
    "resnet56": 125_485_696,
    "resnet110": 252_887_680,
    "resnet1202": 2_829_238_912,
    "resnet50": 4_089_184_256,
    "resnet101": 7_801_405_440,
    "resnet152": 11_513_626_624,
    "resnet56 model/shortcut=projection": 125_747_850 - 10,
}


@pytest.mark.parametrize("text", PARAMS)
def test_params(text: str) -> None:
    name, *overrides = text.split()
    plan = rf.plan(rf.compose(name, *overrides))
    assert rf.cost(plan).params == PARAMS[text]


@pytest.mark.parametrize("text", MACS)
def test_macs(text: str) -> None:
    name, *overrides = text.split()
    config = rf.compose(name, *overrides)
    side = config.image_size
    assert rf.cost(rf.plan(config), image=(3, side, side)).macs == MACS[text]


def test_activations_equal_pycls_without_its_max_pool() -> None:
    """pycls counts the stem's max-pool output too: 64 x 56 x 56."""
    assert rf.cost(rf.plan(rf.compose("resnet50"))).activations == 11_315_688 - 64 * 56 * 56
