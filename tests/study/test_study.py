"""The study from the command line: what it takes, what it says, and the degradation it is there to show."""

from __future__ import annotations

import csv
import json
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import util
from pathlib import Path
from statistics import fmean

import pytest
from conftest import ROOT
from study_rooms import small

import resnet_factory as rf
from resnet_factory.cli import main, request
from resnet_factory.config.composition import compose_all, group_choices
from resnet_factory.errors import ConfigError
from resnet_factory.study import summary, training_result
from resnet_factory.study.figures import DARK_THEME, LIGHT_THEME, THEMES, study_figure_colours, study_figures
from resnet_factory.study.jobs import study_jobs
from resnet_factory.study.metric import TrainedError
from resnet_factory.study.report import study_report, study_report_main_table, write_study_report
from resnet_factory.study.settings import ArrayData
from resnet_factory.study.settings_reader import read_settings
from resnet_factory.study.training_result import (
    DIVERGED,
    DONE,
    EpochRecord,
    EvaluationResult,
    LayerProbeResult,
    TrainingResult,
)

HERE = ["machine.jobs=0", "machine.device=cpu"]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code, and everything printed."""
    status = main.main(["study", *words])
    said = capsys.readouterr()
    return status, said.out + said.err


def outcomes(out: Path) -> list[TrainingResult]:
    found = [training_result.read_result(folder) for folder in sorted((out / "runs").iterdir())]
    return [each for each in found if each is not None]


def made(
    label: str,
    errors: list[float],
    *,
    series: str = "",
    depth: int = 20,
    rate: float = 0.1,
    state: str = DONE,
) -> list[TrainingResult]:
    """Outcomes of one network, one for each final training error."""
    convs, norms = ("conv1", "layer1.0.conv1"), (float(depth), 1.0, 2.0)
    probe = LayerProbeResult((*convs, "fc"), norms, convs, (1.0, 2.0))
    return [
        TrainingResult(
            id=f"{label}{seed}", label=label, series=series, depth=depth, params=1000 * depth, macs=9,
            rate=rate, seed=seed, state=state, reason="" if state == DONE else "the loss is nan",
            iteration=20, iterations=20, train=EvaluationResult(error, error / 50) if state == DONE else None,
            test=EvaluationResult(error + 1, error / 40) if state == DONE else None,
            history=[
                EpochRecord(10, 90.0, 2.0, 91.0, 2.1),
                EpochRecord(20, error, error / 50, error + 1, error / 40),
            ],
            date="2026-01-02",
            start=probe, end=probe, seconds=3.0, place="cpu (test)",
        )
        for seed, error in enumerate(errors)
    ]  # fmt: skip


STUDIED = [
    *made("plain20", [0.2, 0.4], series="plain", depth=20),
    *made("plain56", [50.0, 60.0], series="plain", depth=56),
    *made("resnet20", [0.0, 0.1], series="residual", depth=20),
    *made("resnet56", [0.0, 0.0], series="residual", depth=56),
]


# The point of it --------------------------------------------------------------------------------


@pytest.mark.slow
def test_deeper_plain_networks_train_worse_and_shortcuts_cure_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A small version of the shipped study: half its epochs, one seed. The effect is that large."""
    status, said = run(capsys, "train.epochs=8", "seeds=[0]", "machine.device=cpu", f"out={tmp_path}")
    assert status == 0, said
    found = {each.label: each for each in outcomes(tmp_path)}
    error = {label: each.train.error for label, each in found.items() if each.train}
    assert error.keys() == {"plain20", "plain56", "resnet20", "resnet56"}
    assert error["plain56"] > error["plain20"] + 10
    assert error["resnet56"] < error["resnet20"] + 1
    for depth in (20, 56):
        assert found[f"plain{depth}"].params == found[f"resnet{depth}"].params
        assert (
            f"plain{depth} and resnet{depth} have the same {found[f'plain{depth}'].params:,} parameters"
            in said
        )
    looks = {label: each.start for label, each in found.items() if each.start}
    steep = {
        label: probe_layers.gradients[0] / probe_layers.gradients[-2] for label, probe_layers in looks.items()
    }
    assert steep["plain56"] > 20 * steep["resnet56"]
    assert steep["plain56"] > 20 * steep["plain20"]


# What it takes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", group_choices("study"))
def test_every_shipped_study_reads(name: str) -> None:
    composed = compose_all("study", [f"study={name}"])
    chosen = read_settings(composed.data)
    assert chosen.name == name
    assert chosen.title
    made_jobs = study_jobs(chosen, composed) if isinstance(chosen.data, ArrayData) else []
    assert len(made_jobs) == max(len(chosen.entries), 1) * len(chosen.rates) * len(chosen.seeds)
    assert len({job.name for job in made_jobs}) == len(made_jobs)


@pytest.mark.parametrize("name", ["degradation", "degradation_full", "cifar10_degradation"])
def test_twins_have_the_same_parameters(name: str) -> None:
    composed = compose_all("study", [f"study={name}"])
    params: dict[int, set[int]] = {}
    series: dict[int, set[str]] = {}
    for job in study_jobs(read_settings(composed.data), composed):
        params.setdefault(job.depth, set()).add(job.params)
        series.setdefault(job.depth, set()).add(job.series)
    assert all(len(counts) == 1 for counts in params.values())
    assert all(names == {"plain", "residual"} for names in series.values())


def test_the_papers_recipe() -> None:
    """He et al. 2015, section 4.2."""
    chosen = read_settings(compose_all("study", ["study=cifar10_degradation"]).data)
    train, data = chosen.train, chosen.data
    assert (train.iterations, train.batch, train.momentum, train.weight_decay) == (64_000, 128, 0.9, 1e-4)
    assert (train.schedule, [share * 64_000 for share in train.milestones]) == ("steps", [32_000, 48_000])
    assert chosen.rates == (0.1,)
    assert {name: own.warmup for name, own in chosen.per_model.items()} == {"plain110": 400, "resnet110": 400}
    assert isinstance(data, ArrayData)
    assert (data.pad, data.flip, data.center, data.scale) == (4, True, "pixel", False)
    assert {row.model: row.error for row in chosen.paper if row.data == "CIFAR-10"} == {
        "resnet20": 8.75, "resnet32": 7.51, "resnet44": 7.17, "resnet56": 6.97, "resnet110": 6.43,
    }  # fmt: skip


@pytest.mark.parametrize("study", ["cifar10_degradation", "degradation", "compare"])
def test_models_on_the_command_line_take_the_place_of_the_files(study: str) -> None:
    """Also where both are mappings, which elsewhere join; and through Hydra's own composing."""
    words = [f"study={study}", "models={plain:[plain8]}"]
    composed = compose_all("study", words)
    assert composed.data["models"] == {"plain": ["plain8"]}
    words += ["seeds=[0],[1]"]
    wanted = request.compose_request("study", words, multirun=True)
    assert [word for word in wanted.words if "models" in word] == ["models=null", "++models={plain:[plain8]}"]


def test_a_loss_beyond_all_bounds_is_short() -> None:
    (row,) = summary.summaries_at_best_rates(
        [replace(run, train=EvaluationResult(90.0, 1.25e33)) for run in made("plain20", [1.0, 2.0])]
    )
    assert "| 1.25e+33 ± 0 |" in " | ".join(("", *study_report_main_table([row]).rows[0], ""))


def test_naming_models_means_comparing_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`models=` alone takes study=compare: networks as their files say, ranked; a user's own among them."""
    own = tmp_path / "conf" / "model"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# mine\ndefaults: [resnet8, _self_]\nact: silu\n", encoding="utf-8")
    words = ["models=[resnet8,preact20,mine,'mine model.act=gelu']", "seeds=[0,1]", "train.iterations=6"]
    status, said = run(
        capsys, *words, "--config-dir", str(tmp_path / "conf"), f"out={tmp_path / 'out'}", *HERE
    )
    assert status == 0, said
    assert said.startswith("A comparison of trained networks: 8 trainings")
    for label, depth in (("resnet8", "8"), ("preact20", "20"), ("mine model.act=silu", ""), ("mine", "8")):
        assert not depth or re.search(rf"^{re.escape(label)} +{depth} ", said, re.MULTILINE), label
    assert "mine model.act=gelu" in said
    losses = [float(mean) for mean in re.findall(r"([\d.]+) ± [\d.]+$", said, re.MULTILINE)]
    assert losses == sorted(losses)
    assert len(losses) == 4


def test_the_one_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "study=single",
        "model=resnet8",
        "model.act=silu",
        "train.iterations=3",
        f"out={tmp_path}",
        *HERE,
    ]
    status, said = run(capsys, *words)
    assert status == 0, said
    assert "resnet8" in said
    assert "1/1" in said


def test_what_is_there_is_not_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["models=[resnet8]", "train.iterations=3", f"out={tmp_path}", *HERE]
    run(capsys, *words, "seeds=[0]")
    file = next((tmp_path / "runs").glob("*/result.json"))
    before = file.stat().st_mtime_ns
    _, said = run(capsys, *words, "seeds=[0,1]")
    assert "2 trainings, 1 of them trained before" in said
    assert file.stat().st_mtime_ns == before
    _, said = run(capsys, *words, "seeds=[0,1]", "resume=false")
    assert "trained before" not in said
    assert file.stat().st_mtime_ns > before


def test_other_settings_are_other_runs() -> None:
    base = small()
    others = [
        small(seed=1),
        small(rate=0.2),
        small("plain8"),
        small("resnet8", "model.act=silu"),
        replace(base, train=replace(base.train, batch=16)),
        replace(base, data=replace(base.data, flip=True)),
        replace(base, machine=replace(base.machine, precision="bfloat16")),
    ]
    assert len({base.id, *(other.id for other in others)}) == len(others) + 1
    same = replace(base, machine=replace(base.machine, jobs=3, device="cuda", checkpoint=1.0))
    assert same.id == base.id


def test_divergence_is_a_row_and_the_rest_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "models=[resnet8]",
        "seeds=[0]",
        "rates=[1e30,0.1]",
        "train.iterations=6",
        f"out={tmp_path}",
        *HERE,
    ]
    status, said = run(capsys, *words)
    assert status == 0
    assert "diverged: the loss is nan at iteration" in said
    assert re.search(r"^resnet8 +8 .* 0.1 ", said, re.MULTILINE), "the rate that works is the best"
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Runs that did not finish" in page
    assert "| resnet8 | diverged |" in page or "diverged |" in page


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["models=[resnet20,resnt56]"], "models.1: 'resnt56': unknown model 'resnt56'"),
        (["models=[]"], "models: no model to train"),
        (["models=[resnet20,resnet20]"], "models.1: 'resnet20' occurs twice"),
        (["models=[resnet20]", "overrides=[model.act=silu]"], "an equals sign need quotes inside a list"),
        (["models=[resnet20]", "overrides=model.widths=[8,16]"], "strides: 3 entries, but widths has 2"),
        (["models=[resnet20]", "overrides=['model.widht=8']"], "unknown key 'widht'"),
        (["model=resnet20"], "has no effect because 'models' is set; put it into overrides="),
        (["model.act=silu"], "has no effect because 'models' is set"),
        (["train.epohcs=3"], "train.epohcs: unknown key 'epohcs'"),
        (["train.batch=0"], "train.batch: 0 is less than 1"),
        (["train.batch=5000"], "train.batch: a batch of 5000 is more than the 1437 training images"),
        (
            ["per_model={plain20:{batch:2000}}"],
            "per_model.plain20.batch: a batch of 2000 is more than the 1437 training images",
        ),
        (["data.channels=3"], "data.channels: images of digits have 1, not 3"),
        (["data.size=9"], "data.size: images of digits are 8x8 pixels, not 9x9"),
        (["data.classes=4"], "data.classes: digits has 10 classes, not 4"),
        (["rates=[0.1,0]"], "rates.1: expected a number above 0, found 0"),
        (["rates=[-1]"], "rates.0: expected a number above 0, found -1"),
        (["train.batch=many"], "train.batch: expected a whole number, found 'many'"),
        (["train.momentum=nan"], "train.momentum: expected a finite number"),
        (
            ["train.schedule=step"],
            "train.schedule: expected one_cycle, cosine, steps or constant, found 'step'",
        ),
        (["train.milestones=[0.7,0.5]"], "train.milestones: expected increasing fractions"),
        (
            ["train.epochs=null"],
            "train: the length of the training is missing; give 'epochs' or 'iterations'",
        ),
        (["seeds=[]"], "seeds: an empty list"),
        (["seeds=[0,0]"], "seeds.1: 0 occurs twice"),
        (["rates=0.1"], "rates: expected a list, found 0.1"),
        (
            ["machine.precision=half"],
            "machine.precision: expected float32, bfloat16 or float16, found 'half'",
        ),
        (["machine.device=gpu"], "machine.device: 'gpu' does not work here"),
        (["per_model={plane20:{warmup:3}}"], "unknown model 'plane20'"),
        (["per_model={plain20:{warmpu:3}}"], "per_model.plain20.warmpu: unknown key 'warmpu'"),
        (["study=degradaton"], "unknown study 'degradaton'"),
        (["out=/proc/nowhere"], "out: '/proc/nowhere' cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    status, said = run(capsys, *words)
    assert (status, "Traceback" in said) == (2, False), said
    assert expected in said
    assert any(f"command line '{word.partition('=')[0]}" in said for word in words) or ".yaml:" in said
    assert not list(tmp_path.rglob("*.json"))


def test_all_mistakes_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    status, said = run(capsys, "train.batch=x", "seeds=[]", "data.pad=-1", "rates=[fast]")
    assert status == 2
    assert len(said.splitlines()) == 4


@pytest.mark.parametrize(("module", "package"), [("sklearn", "scikit-learn"), ("matplotlib", "matplotlib")])
def test_a_missing_extra_is_one_line(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = util.find_spec
    patched: Callable[[str], object] = lambda name: None if name == module else find(name)  # noqa: E731
    monkeypatch.setattr("resnet_factory.study.preflight.find_spec", patched)
    status, said = run(capsys)
    assert status == 2
    (line,) = said.splitlines()
    assert f"this study needs {package}; in {ROOT}: pip install -c constraints.txt -e '.[study]'" in line


def test_multirun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hydra's -m over networks; each is trained, and one table has what came out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["resnet-factory"])
    words = ["-m", "study=single", "model=resnet8,plain8", "train.iterations=3", "seeds=[0,1]", *HERE]
    status, said = run(capsys, *words)
    assert status == 0, said
    with next(tmp_path.glob("runs/*/results.csv")).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["ok", "ok"]
    for row, name in zip(rows, ("resnet8", "plain8"), strict=True):
        found = [each for each in outcomes(tmp_path / "studies" / "single") if each.label == name]
        assert float(row["test_loss"]) == pytest.approx(fmean(each.test.loss for each in found if each.test))
        assert float(row["test_loss_deviation"]) > 0
        assert int(row["params"]) == found[0].params


def test_a_sweep_ranks_by_trained_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """measure=[loss,error]: means over seeds; an error makes the report draw its distribution."""
    words = [
        "sweep", "model=resnet8", "model.act=relu,silu", "model.widths=[4,8,16]", "model.stem.width=4",
        "sampler=grid", "measure=[loss,error]", "by=loss", f"out={tmp_path / 'out'}",
        "measuring.study=['train.iterations=20','seeds=[0,1]','machine.device=cpu']",
    ]  # fmt: skip
    assert main.main(words) == 0
    capsys.readouterr()
    metric = TrainedError.compose("train.iterations=20", "seeds=[0,1]", "machine.device=cpu")
    with (tmp_path / "out" / "archs.csv").open(encoding="utf-8") as file:
        rows = {row["act"]: row for row in csv.DictReader(file)}
    for act in ("relu", "silu"):
        own = rf.compose("resnet8", "model.widths=[4,8,16]", "model.stem.width=4", f"model.act={act}")
        expected = metric(own)
        assert expected.test_loss is not None
        assert float(rows[act]["loss"]) == pytest.approx(expected.test_loss.mean)
        assert rows[act]["loss note"] == "mean of digits, 20 iterations of batches of 128, 2 seeds, rate 0.1"
    assert "Errors" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("measuring.study=['train.epohcs=3']", "train.epohcs: unknown key 'epohcs'"),
        ("measuring.study=3", "measuring.study: expected overrides of a study, found 3"),
        ("measuring.batch=0", "measuring.batch"),
    ],
)
def test_a_sweep_says_what_cannot_be_trained(
    word: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "model=resnet8", "model.act=relu,silu", "measure=[error]", f"out={tmp_path}", word]
    assert main.main(words) == 2
    assert expected in capsys.readouterr().err


# What it says -----------------------------------------------------------------------------------


def test_best_rate_is_chosen_by_training_alone() -> None:
    """Lowest training error, then loss, never test; a rate that loses a seed only where every one does."""
    slow, fast = made("a", [5.0, 5.0], rate=0.01), made("a", [2.0, 4.0], rate=0.1)
    assert summary.summaries_at_best_rates([*slow, *fast])[0].rate == 0.1
    broken = [*made("a", [0.0], rate=1.0), *made("a", [0.0], rate=1.0, state=DIVERGED)]
    assert summary.summaries_at_best_rates([*slow, *broken])[0].rate == 0.01
    assert summary.summaries_at_best_rates(broken)[0].rate == 1.0
    same = [
        replace(run, train=EvaluationResult(5.0, 0.01), test=EvaluationResult(99.0, 9.0))
        for run in made("a", [5.0], rate=0.2)
    ]
    assert summary.summaries_at_best_rates([*made("a", [5.0], rate=0.01), *same])[0].rate == 0.2


def test_spread_is_the_sample_deviation() -> None:
    row = summary.summaries_at_best_rates(made("a", [1.0, 2.0, 6.0]))[0]
    assert row.train_error is not None
    assert row.train_error.mean == 3.0
    assert row.train_error.deviation == pytest.approx(7**0.5)
    assert summary.SeedSummary((4.0,)).deviation == 0.0


def test_findings_say_what_was_measured() -> None:
    said = "\n".join(summary.summary_findings(summary.summaries_at_best_rates(STUDIED)))
    assert (
        "plain: plain56 ends at 55.00 % training error, plain20 at 0.30 %: 54.7 points higher at 56" in said
    )
    assert "all 2 seeds agree" in said
    assert "residual: resnet56 ends at 0.00 % training error, resnet20 at 0.05 %: 0.1 points lower" in said
    assert "plain56 and resnet56 have the same 56,000 parameters." in said
    assert "at initialisation: plain20 20.0, plain56 56.0, resnet20 20.0, resnet56 56.0." in said


def test_findings_follow_the_figures() -> None:
    """The other way round, they say the other thing."""
    turned = [
        *made("plain20", [50.0, 60.0], series="plain"),
        *made("plain56", [0.1, 0.3], series="plain", depth=56),
    ]
    said = "\n".join(summary.summary_findings(summary.summaries_at_best_rates(turned)))
    assert "54.8 points lower at 56 layers" in said
    mixed = [
        *made("plain20", [5.0, 20.0], series="plain"),
        *made("plain56", [10.0, 30.0], series="plain", depth=56),
    ]
    assert "the seeds overlap" in "\n".join(summary.summary_findings(summary.summaries_at_best_rates(mixed)))


def test_overlapping_seeds_are_told() -> None:
    rows = summary.summaries_at_best_rates(
        [*made("a", [1.0, 3.0]), *made("b", [2.0, 4.0]), *made("c", [9.0, 9.5])]
    )
    assert summary.summary_findings(rows) == [
        "a and b cannot be told apart: the test losses of their seeds overlap."
    ]


def test_report_text(golden: Callable[[str, str], None], tmp_path: Path) -> None:
    chosen = read_settings(compose_all("study", ["study=degradation"]).data)
    said = study_report(chosen, STUDIED, 8, "resnet-factory study")
    fixed = [(name, fact) for name, fact in said.facts if name != "versions"]
    write_study_report(replace(said, facts=tuple(fixed)), STUDIED, tmp_path)
    golden("study_report.md", (tmp_path / "report.md").read_text(encoding="utf-8"))


def test_report_is_self_contained_and_escaped(tmp_path: Path) -> None:
    chosen = replace(read_settings(compose_all("study", []).data), title="<b>bold</b> & more")
    html, markdown = write_study_report(
        study_report(chosen, STUDIED, 9, "resnet-factory study"), STUDIED, tmp_path
    )
    page = html.read_text(encoding="utf-8")
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "Not complete: 8 of 9 networks are trained." in page
    links = re.findall(r"(?:src|srcset)=\"([^\"]+)\"", markdown.read_text(encoding="utf-8"))
    assert len(links) == 2 * 4
    assert all((tmp_path / link).is_file() for link in links)


@pytest.mark.parametrize(
    ("outcomes", "names"),
    [
        (STUDIED, ["curves", "depth", "gradients", "responses"]),
        ([*made("a", [1.0]), *made("b", [2.0])], ["curves", "scores", "gradients", "responses"]),
        (made("a", [1.0]), ["curves", "gradients", "responses"]),
        (made("a", [1.0], state=DIVERGED), ["curves", "gradients", "responses"]),
        ([replace(run, history=[]) for run in made("a", [1.0])], []),
    ],
    ids=["series", "list", "one", "diverged", "nothing"],
)
def test_pictures_there_are(outcomes: list[TrainingResult], names: list[str]) -> None:
    found = study_figures(summary.summaries_at_best_rates(outcomes))
    assert [picture.name for picture in found] == names
    for picture in found:
        light, dark = (picture.svg(theme) for theme in THEMES)
        assert light == picture.svg(LIGHT_THEME), "the same data give the same text"
        assert light != dark
        assert DARK_THEME.ink in dark
        assert DARK_THEME.ink not in light


def test_a_single_epoch_is_a_dot() -> None:
    """A line through one point would draw nothing."""
    run = made("a", [1.0])[0]
    for epochs in (1, 2):
        history = [EpochRecord(10 * (i + 1), 50.0, 1.0, 50.0, 1.0) for i in range(epochs)]
        curves = study_figures(summary.summaries_at_best_rates([replace(run, history=history)]))[0]
        (colour,) = study_figure_colours(summary.summaries_at_best_rates([run]), LIGHT_THEME).values()
        assert (f"fill: {colour}" in curves.svg(LIGHT_THEME)) == (epochs == 1)


def test_colours_are_hues_by_series_and_shades_by_depth() -> None:
    rows = summary.summaries_at_best_rates(STUDIED)
    found = study_figure_colours(rows, LIGHT_THEME)
    assert [found["plain20"], found["plain56"]] == list(LIGHT_THEME.ramps[0])
    assert [found["resnet20"], found["resnet56"]] == list(LIGHT_THEME.ramps[1])


def test_outcomes_come_back_from_their_files(tmp_path: Path) -> None:
    run = replace(STUDIED[0], history=[EpochRecord(1, float("nan"), float("inf"), 1.0, 2.0)])
    run.write(tmp_path)
    json.loads(
        (tmp_path / training_result.RESULT_FILE).read_text(encoding="utf-8"), parse_constant=pytest.fail
    )
    found = training_result.read_result(tmp_path)
    assert found is not None
    assert found.history[0].test_loss == 2.0
    assert found.history[0].train_error != found.history[0].train_error
    assert replace(found, history=[]) == replace(run, history=[])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 1}', "\0\1"])
def test_unreadable_outcomes_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / training_result.RESULT_FILE).write_text(text, encoding="utf-8")
    assert training_result.read_result(tmp_path) is None


# For other rooms --------------------------------------------------------------------------------


def test_trained_error_is_a_metric(tmp_path: Path) -> None:
    """Pickled, it gives the same figures; kept results are taken up; networks rank by it."""
    words = ("train.iterations=30", "train.batch=32", "seeds=[0,1]", "machine.device=cpu")
    metric = TrainedError.compose(*words, folder=str(tmp_path))
    narrow = ("model.widths=[4,8,16]", "model.stem.width=4")
    config = rf.compose("resnet8", *narrow)
    row = pickle.loads(pickle.dumps(metric))(config)
    assert [run.seed for run in row.runs] == [0, 1]
    assert row.test_error is not None
    assert row.test_loss is not None
    assert 0 < row.test_error.mean < 90
    assert row.test_loss.deviation > 0
    assert replace(metric, folder=None)(config.to_dict()).test_loss == row.test_loss
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    assert metric(config) == row
    assert before == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}


def test_trained_error_of_what_does_not_train() -> None:
    metric = TrainedError.compose("train.iterations=3", "rates=[1e30]", "seeds=[0]", "machine.device=cpu")
    row = metric(rf.compose("resnet8"))
    assert row.test_error is None
    assert row.runs[0].state == DIVERGED
    with pytest.raises(ConfigError, match="unknown key 'not'"):
        metric({"not": "a model"})


def test_what_is_published_is_shown_in_the_docs() -> None:
    """docs/study.md is a real run's own report; its figures are not typed by hand."""
    page = (ROOT / "docs" / "degradation" / "report.md").read_text(encoding="utf-8")
    assert "resnet-factory study study=degradation_full" in page
    for depth in (8, 20, 32, 56):
        for kind in ("plain", "resnet"):
            assert re.search(rf"^\| {kind}{depth} \| {depth} \|", page, re.MULTILINE)
