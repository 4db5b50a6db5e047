"""Pictures: complete, self-contained, nothing on top of anything else; and the draw command."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

import resnet_factory as rf
from resnet_factory.cli.main import main
from resnet_factory.config.model_index import index_models
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import leaves
from resnet_factory.reporting.drawing.canvas import canvas_text_width
from resnet_factory.reporting.drawing.palette import DARK, LIGHT, ROLES

SVG = "{http://www.w3.org/2000/svg}"
SAMPLE = [
    "plain20", "resnet18", "resnet50", "resnet50d", "resnet152", "resnet1202", "preact_resnet50",
    "regnety_032", "regnetz_040_h", "res2net50_26w_4s", "skresnet18", "resnest50d", "ecaresnet50t",
    "pyramidnet110_a84", "nf_seresnet50", "resnetblur50", "resnetv2_50x1_bit",
]  # fmt: skip


class Box(NamedTuple):
    """A rectangle on paper."""

    x: float
    y: float
    width: float
    height: float

    def holds(self, other: Box, slack: float = 0.11) -> bool:
        return (
            self.x - slack <= other.x
            and self.y - slack <= other.y
            and other.x + other.width <= self.x + self.width + slack
            and other.y + other.height <= self.y + self.height + slack
        )

    def meets(self, other: Box) -> bool:
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


def planned(name: str, *overrides: str) -> Plan:
    return rf.plan(rf.compose(name, *overrides) if overrides else index_models().config(name))


def picture(plan: Plan, image: tuple[int, int, int] | None = None) -> ElementTree.Element:
    return ElementTree.fromstring(rf.draw(plan, image))


def boxes(root: ElementTree.Element, *looks: str) -> list[tuple[Box, ElementTree.Element]]:
    found = [part for part in root.iter(f"{SVG}rect") if part.get("class") in looks]
    return [(Box(*(float(part.get(key, "")) for key in Box._fields)), part) for part in found]


def texts(root: ElementTree.Element) -> Iterator[tuple[Box, ElementTree.Element]]:
    """Every text and about where it is."""
    for part in root.iter(f"{SVG}text"):
        size, words = float(part.get("font-size", "")), part.text or ""
        width = canvas_text_width(words, size)
        shift = {"middle": width / 2, "end": width}.get(part.get("text-anchor", ""), 0)
        yield Box(float(part.get("x", "")) - shift, float(part.get("y", "")) - 0.75 * size, width, size), part


def arches(root: ElementTree.Element) -> Counter[str]:
    """The shortcuts over the slabs by kind, those of the legend left out."""
    kinds = ("identity", "projection", "padding")
    drawn = Counter(
        part.get("class", "")
        for part in root.iter(f"{SVG}path")
        if part.get("class") in kinds and "A" in part.get("d", "")
    )
    return Counter({kind: count - 1 for kind, count in drawn.items()})


def check(root: ElementTree.Element) -> None:
    """What holds for every picture."""
    paper = Box(0, 0, float(root.get("width", "")), float(root.get("height", "")))
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    cards = boxes(root, "card")
    pills = [(box, part) for box, part in boxes(root, *ROLES) if box.width > 18]
    for box, _ in cards:
        assert paper.holds(box)
        assert not any(box.meets(other) for other, _ in cards if other is not box)
    for box, _ in pills:
        assert sum(card.holds(box) for card, _ in cards) == 1
        assert not any(box.meets(other) for other, _ in pills if other is not box)
    placed = list(texts(root))
    for box, part in placed:
        assert paper.holds(box), part.text
        if part.get("class", "").endswith("-ink"):
            assert any(pill.holds(box) for pill, _ in pills), part.text
    plain = [(box, part) for box, part in placed if not part.get("class", "").endswith("-ink")]
    for box, part in plain:
        assert not any(box.meets(pill) for pill, _ in pills), part.text
        assert not [other.text for near, other in plain if near is not box and box.meets(near)], part.text
    for points in root.iter(f"{SVG}path"):
        numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", points.get("d", ""))]
        assert max(numbers) <= max(paper.width, paper.height)
        assert min(numbers) >= 0


@pytest.mark.parametrize("name", SAMPLE)
def test_nothing_lies_on_top_of_anything(name: str) -> None:
    check(picture(planned(name)))


@pytest.mark.slow
def test_every_model_can_be_drawn() -> None:
    for name in index_models().names():
        plan = planned(name)
        check(picture(plan))
        rf.draw(plan, format="mermaid")


@pytest.mark.parametrize(
    ("overrides", "image"),
    [
        (["model.depths=[2]", "model.widths=[64]", "model.strides=[1]"], None),
        (
            ["model.depths=[1,2,3,12,2,1]", "model.widths=[32,48,64,96,128,160]", "model.strides=2"],
            (3, 256, 512),
        ),
        (["model.depths=[" + ",".join("1" * 24) + "]", "model.widths=16", "model.strides=1"], (3, 32, 32)),
        (["model/head=none", "model/norm=none", "model/shortcut=none"], None),
        (["model.in_channels=1", "model.num_classes=100000"], (1, 28, 28)),
        (["model/drop_path=linear", "model/attention=se", "model/stem=deep"], None),
    ],
    ids=["one stage", "six stages", "24 stages", "bare", "odd ends", "full"],
)
def test_any_network_fits_the_paper(overrides: list[str], image: tuple[int, int, int] | None) -> None:
    check(picture(planned("resnet18", *overrides), image))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_networks_fit_the_paper(data: st.DataObject) -> None:
    stages = data.draw(st.integers(1, 7))
    many = st.lists(st.integers(1, 9), min_size=stages, max_size=stages)
    raw = (
        index_models()
        .config(data.draw(st.sampled_from(["resnet18", "resnet50d", "seresnet50t", "preact_resnet50"])))
        .to_dict()
    )
    raw |= {
        "depths": data.draw(many),
        "widths": [8 * width for width in data.draw(many)],
        "strides": data.draw(st.lists(st.integers(1, 2), min_size=stages, max_size=stages)),
        "groups": 1,
        "in_channels": data.draw(st.integers(1, 9)),
    }
    plan = rf.plan(rf.read(raw))
    side = data.draw(st.integers(64, 999))
    check(picture(plan, (plan.in_channels, side, data.draw(st.integers(64, 999)))))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain20", {}),
        ("resnet18", {"identity": 5, "projection": 3}),
        ("resnet50", {"identity": 12, "projection": 4}),
        ("resnet20", {"identity": 7, "padding": 2}),
        ("resnet1202", {"identity": 13, "padding": 2}),  # five of 200 blocks are drawn in each stage
        (
            "regnetz_040_h",
            {"identity": 15},
        ),  # 2, 6, 14 and 6 blocks, the first of each without; five of the 14 drawn
    ],
)
def test_shortcuts_are_told_apart(name: str, expected: dict[str, int]) -> None:
    assert +arches(picture(planned(name))) == expected


def test_hidden_blocks_are_counted() -> None:
    words = [part.text for part in picture(planned("resnet152")).iter(f"{SVG}text")]
    assert "+31" in words  # of 36 blocks, five are drawn
    assert "36 × bottleneck" in words
    assert "then 35 more, identity shortcut" in words


def test_slabs_are_sized_by_shape() -> None:
    fronts = [box for box, _ in boxes(picture(planned("resnet18")), "front")]
    slabs = [box for box in fronts if box.height != 3 and box[2:] != (10, 10)]  # without shares and legend
    assert len(slabs) == 2 + 8 + 2
    heights = [box.height for box in slabs[2:10:2]]
    widths = [box.width for box in slabs[2:10:2]]
    for before, after in pairwise(heights):
        assert after / before == pytest.approx(2**-0.5, rel=0.02)  # half the side
    for before, after in pairwise(widths):
        assert after / before == pytest.approx(2**0.5, rel=0.02)  # twice the channels


@pytest.mark.parametrize("name", ["resnet18", "regnety_032"])
def test_every_layer_of_the_first_blocks_is_there(name: str) -> None:
    plan = planned(name)
    shown = [*leaves(plan.stem), *leaves(plan.head)]
    shown += [leaf for stage in plan.stages for leaf in leaves(stage.blocks[0].node, f"{stage.name}.0")]
    titles = {part.text or "" for part in picture(plan).iter(f"{SVG}title")}
    for leaf in shown:
        assert any(title.startswith(f"{leaf.name}: ") for title in titles), leaf.name


def test_svg_is_self_contained_and_has_both_colour_schemes() -> None:
    text = rf.draw(planned("resnet50"))
    root = ElementTree.fromstring(text)
    outside = re.findall(r"""(?:https?:|url\(|href|@import|<script|<image)[^\s"]*""", text)
    assert set(outside) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    style = next(root.iter(f"{SVG}style")).text or ""
    light, dark = style.split("@media (prefers-color-scheme:dark)")
    assert LIGHT["paper"] in light
    assert DARK["paper"] in dark
    used = {look for part in root.iter() for look in part.get("class", "").split()} - {"rf"}
    for look in used:
        assert f".{look}" in style


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read(colours: dict[str, str]) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2.1, success criterion 1.4.3)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    pairs = [
        ("ink", "paper"),
        ("muted", "paper"),
        ("muted", "card"),
        *((f"{role}-ink", role) for role in ROLES),
    ]
    for words, ground in pairs:
        high, low = sorted((luminance(colours[words]), luminance(colours[ground])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (words, ground)


def test_names_cannot_break_out_of_the_picture() -> None:
    config = rf.read(index_models().config("resnet18").to_dict(), path='a<b>&"c"')
    plan = rf.plan(config)
    assert 'a<b>&"c"' in [part.text for part in picture(plan).iter(f"{SVG}text")]
    assert '"a<b>&\\"c\\": ' in rf.draw(plan, format="mermaid")


def test_the_readme_picture_is_what_draw_draws(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """docs/resnet18.svg comes from `resnet-factory draw model=resnet18 file=docs/resnet18.svg`."""
    shown = ROOT / "docs" / "resnet18.svg"
    drawn = shown if request.config.getoption("--refresh-golden") else tmp_path / "resnet18.svg"
    assert main(["draw", "model=resnet18", f"file={drawn}"]) == 0
    assert drawn.read_bytes() == shown.read_bytes()


@pytest.mark.parametrize("name", ["resnet50", "res2net50_26w_4s", "skresnet18", "regnety_032"])
def test_mermaid(golden: Callable[[str, str], None], name: str) -> None:
    text = rf.draw(planned(name), format="mermaid")
    golden(f"draw_{name}.mmd", text)
    nodes = re.findall(r"^    (n\d+)\W", text, re.MULTILINE)
    links = re.findall(r"^    (n\d+) (-->|-\.->|==>|~~~) (n\d+)$", text, re.MULTILINE)
    assert {end for start, _, other in links for end in (start, other)} <= set(nodes)
    assert text.count("subgraph") == text.count("\n  end\n")
    for number, (_, arrow, _) in enumerate(links):
        styled = re.search(rf"linkStyle (?:\d+,)*{number}(?:,\d+)* stroke:(\S+)", text)
        assert (styled is not None) == (arrow in ("==>", "-.->"))
    for leaf in leaves(planned(name).stages[0].blocks[0].node):
        assert leaf.layer.params() == 0 or f", {leaf.layer.out_channels}" in text


# The command ----------------------------------------------------------------------------------


def test_draws_to_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["draw", "model=plain20"]) == 0
    assert capfdbinary.readouterr().out.decode() == rf.draw(planned("plain20"))
    assert main(["draw", "model=plain20", "format=mermaid", "input.size=64"]) == 0
    expected = rf.draw(planned("plain20"), (3, 64, 64), "mermaid")
    assert capfdbinary.readouterr().out.decode() == expected


def test_format_follows_the_ending(tmp_path: Path) -> None:
    for name, begins in (("a.svg", "<svg"), ("a.mmd", "---\ntitle"), ("b.SVG", "<svg")):
        assert main(["draw", "model=plain20", f"file={tmp_path / name}"]) == 0
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(begins)
    assert main(["draw", "model=plain20", f"file={tmp_path / 'c.txt'}", "format=mermaid"]) == 0
    assert (tmp_path / "c.txt").read_text(encoding="utf-8").startswith("---")


def test_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "net.svg"
    file.write_text("<svg>what was there</svg>", encoding="utf-8")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fails)
        assert main(["draw", "model=plain20", f"file={file}"]) == 2
    assert "cannot be written: No space left on device" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["net.svg"]
    assert file.read_text(encoding="utf-8") == "<svg>what was there</svg>"
    link = tmp_path / "link.svg"
    link.symlink_to(file)
    assert main(["draw", "model=plain20", f"file={link}"]) == 0
    assert link.is_symlink()
    assert file.read_text(encoding="utf-8").startswith("<svg")
    other = tmp_path / "new"
    other.touch()
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["format=svgg"], "command line 'format=svgg': format: unknown format 'svgg'; known are svg,"),
        (["format=3"], "command line 'format=3': format: expected a format by name, found 3"),
        (["file=a.png"], "does not end in .svg, .mmd or .mermaid; or give format=svg or format=mermaid"),
        (["file=a.sgv"], "did you mean '.svg'?"),
        (["file=true"], "command line 'file=true': file: expected a file name, found True"),
        (["file=no/such/a.svg"], "command line 'file=no/such/a.svg': file: there is no folder 'no/such'"),
        (["file=folder.svg"], "line 'file=folder.svg': file: 'folder.svg' is a folder"),
        (["file=a.png", "format=sgv"], "unknown format 'sgv'"),
        (["input.size=8", "model=resnet50"], None),
        (["input.size=2", "model.stem.layers=[{conv: {kernel: 5, to: width, padding: 0}}]"],
         "command line 'input.size=2': input.size: 2x2 is too small"),
        (["fil=a.svg"], "command line 'fil=a.svg': fil: unknown key 'fil'"),
    ],
)  # fmt: skip
def test_mistakes(
    arguments: list[str],
    message: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.svg").mkdir()
    assert main(["draw", *arguments]) == (2 if message else 0)
    error = capsys.readouterr().err
    assert (message or "") in error
    assert "Traceback" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["folder.svg"]


def test_unknown_format_in_python() -> None:
    with pytest.raises(rf.ConfigError, match="unknown format 'png'; known are svg, mermaid"):
        rf.draw(planned("plain20"), format="png")
