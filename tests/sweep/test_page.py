"""The page of a sweep in a browser without network: filtered, brushed, clicked, and its YAML composed."""

from __future__ import annotations

import itertools
import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.sweep import live_page, results
from resnet_factory.sweep.multirun_page import job_table
from resnet_factory.sweep.objectives import ObjectiveRankingOptions, read_objective_ranking
from resnet_factory.sweep.page.architecture_texts import ArchitectureTexts, architecture_text_numbers
from resnet_factory.sweep.page.architectures import architectures_on_page, page_table_of_architectures
from resnet_factory.sweep.page.columns import PageColumn, PageColumnTable
from resnet_factory.sweep.results import choose_best_results
from resnet_factory.sweep.results_table import ResultsTable, load_results_table
from resnet_factory.sweep.store import SweepStore

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
SCATTER = "[...Bokeh.index.roots].find((view) => view.model.height == 460)"
DOTS = f"{SCATTER}.model.renderers[0].data_source"
SPACE = (
    "sweep", "model=resnet20", "model.image_size=8", "model/shortcut=none,zero_pad", "model.depths.0=1,2,3",
    "model.depths.2=1,2", "model.widths.2=range(16,65,8)", "model/attention=none,se",
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def browser() -> Iterator[Any]:
    """Opens a file in a browser that is offline, at a width, in a colour scheme, with a mouse or a finger."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("no chromium on PATH, such as Debian's (.ci/run installs it)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))

        def open_page(file: Path, width: int = 1280, scheme: Any = "light", touch: bool = False) -> Any:
            context = running.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, has_touch=touch,
                is_mobile=touch,
            )  # fmt: skip
            page = context.new_page()
            page.on("pageerror", lambda error: pytest.fail(f"an error in the page: {error}"))
            page.on(
                "request",
                lambda request: (
                    None if request.url[:4] in ("file", "data", "blob") else pytest.fail(request.url)
                ),
            )
            page.goto(file.absolute().as_uri())
            page.wait_for_function("document.getElementById('shown').textContent.includes('shown')")
            return page

        yield open_page
        running.close()


def table_of(folder: Path, **views: Any) -> tuple[PageColumnTable, ResultsTable, SweepStore]:
    options = ObjectiveRankingOptions(
        **{"by": None, "top": 3, "errors": None, "pareto": (("params", "macs"),)} | views
    )
    store = SweepStore(folder, write=False)
    found = load_results_table(store)
    ranking = read_objective_ranking(options, found.metrics)
    winners = choose_best_results(found, ranking, options.top)
    return (
        page_table_of_architectures(found, store.structures(), store.run(), ranking, winners.indices),
        found,
        store,
    )


@pytest.mark.parametrize(
    "words",
    [
        SPACE,
        ("sweep", "space=regnetx", "samples=300", "space.constraints.macs=[null,null]"),
        ("sweep", "space=anynet", "samples=60"),
        (
            "sweep",
            "model=resnet18,resnet50",
            "model.widths=16,32",
            "model.groups.0=1,2",
            "model.act=relu,[relu,silu,relu,relu]",
        ),
    ],
)
def test_the_text_of_every_row_plans_to_its_id(home: Path, words: tuple[str, ...]) -> None:
    assert main.main([*words, "out=s", "report=false"]) == 0
    table, found, store = table_of(home / "s")
    structures = store.structures()
    (home / "model").mkdir()
    commands = 0
    for i in range(0, len(table), max(1, len(table) // 12)):
        (candidate,) = found.candidates([i])
        recipe = ArchitectureTexts(**table.recipes[table.recipe[i]])
        text, command = recipe.filled(architecture_text_numbers(candidate, structures[candidate.structure]))
        (home / "model/mine.yaml").write_text(text)
        assert rf.plan(rf.compose("mine", config_dir=home)).id == candidate.plan_id
        if command is not None:
            _, model, *overrides = shlex.split(command)
            assert rf.plan(rf.compose(model.removeprefix("model="), *overrides)).id == candidate.plan_id
            commands += 1
    assert commands


def test_a_page_of_many_has_winners_and_fronts_and_an_even_share(home: Path) -> None:
    assert main.main(["sweep", "space=anynet", "samples=3000", "out=s", "report=false"]) == 0
    _, found, _ = table_of(home / "s")
    ranking = read_objective_ranking(
        ObjectiveRankingOptions(
            by=None, top=3, errors=None, pareto=(("params", "macs"), ("macs", "activations"))
        ),
        found.metrics,
    )
    front = {i for pair in ranking.pareto for i in found.front(*pair).tolist()}
    rows = architectures_on_page(found, ranking, np.array([5]), 100)
    assert front | {5} <= set(rows)
    assert rows == sorted(set(rows))
    assert 95 <= len(rows) <= 100
    assert architectures_on_page(found, ranking, np.array([5]), 10**6) == list(range(len(found)))


@pytest.mark.parametrize(
    ("values", "kind"),
    [([1, 255], np.uint8), ([-1, 300], np.int16), ([1, 70_000], np.int32), ([1, 2**40], np.float32),
     ([1, 2**40 + 1], np.float64), ([0.5, 2], np.float32), ([0.1, 2], np.float64), ([1, np.nan], np.float32)],
)  # fmt: skip
def test_columns_are_small_and_exact(values: list[float], kind: type) -> None:
    found = PageColumn(label="x", values=np.array(values, float)).encoded()
    assert found.dtype == kind
    assert np.array_equal(found.astype(float), np.array(values, float), equal_nan=True)


@pytest.mark.slow
def test_the_page_of_a_running_sweep_is_there_and_loads_itself_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[tuple[int | None, str]] = []
    write = results.write_results_page

    def written(
        store: SweepStore, options: ObjectiveRankingOptions, config_dir: Any, refresh: int | None
    ) -> None:
        write(store, options, config_dir, refresh)
        pages.append((refresh, (home / "s/report.html").read_text()))

    monkeypatch.setattr(results, "write_results_page", written)
    monkeypatch.setattr(live_page, "FIRST", 0.0)
    assert main.main([*SPACE, "samples=30", "measure=[synflow]", "measuring.batch=2", "out=s"]) == 0
    ((refresh, page), *_) = pages
    assert f'<meta http-equiv="refresh" content="{refresh}">' in page
    assert "This sweep is running" in page
    last = (home / "s/report.html").read_text()
    assert 'http-equiv="refresh"' not in last


def test_pages_take_a_twentieth_of_the_time_at_most() -> None:
    now, pages = 0.0, []

    def write(refresh: int | None) -> None:
        nonlocal now
        now += 5
        pages.append((now, refresh))

    page = live_page.LivePage(write, lambda: now)
    while now < 1_000:
        now += 1
        page.tick()
    assert [round(b - a) for (a, _), (b, _) in itertools.pairwise(pages)][1:] == [105] * (len(pages) - 2)
    page.end()
    assert pages[-1][1] is None


@pytest.mark.slow
def test_a_reader_finds_brushes_clicks_and_composes(home: Path, browser: Callable[..., Any]) -> None:
    assert main.main([*SPACE, "sampler=grid", "samples=null", "out=s"]) == 0
    page = browser(home / "s/report.html")
    with SweepStore(home / "s", write=False) as store:
        candidates = {candidate.plan: candidate for candidate in store.candidates()}
    total = len(candidates)
    assert page.text_content("#shown") == f"{total:,} of {total:,} shown"

    def composed() -> str:
        name = page.text_content("#architecture-name")
        (home / "model").mkdir(exist_ok=True)
        (home / page.text_content("#architecture-file")).write_text(page.text_content("#architecture-yaml"))
        words = shlex.split(page.text_content("#architecture-command"))[1:]
        by_file = rf.plan(rf.compose(name, config_dir=home)).id
        assert rf.plan(rf.compose(words[0].removeprefix("model="), *words[1:])).id == by_file
        return by_file

    # A given architecture, by the search and the table.
    wanted = list(candidates)[total // 2]
    page.locator("input[type=text]").first.fill(wanted)
    page.wait_for_function("document.getElementById('shown').textContent.startsWith('1 of')")
    page.locator(".slick-cell", has_text=wanted).click()
    page.wait_for_selector("#architecture:not([hidden])")
    assert composed() == wanted
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function(f"document.getElementById('shown').textContent.startsWith('{total} of {total}')")

    # The corner of the front, brushed: exactly the dots inside of the box.
    page.evaluate(f"{SCATTER}.el.scrollIntoView()")
    left, top, width, height = page.evaluate(f"""() => {{
        const view = {SCATTER}, frame = view.frame.bbox, at = view.el.getBoundingClientRect()
        return [at.x + frame.left, at.y + frame.top, frame.width, frame.height] }}""")
    page.mouse.move(left + 2, top + height - 2)
    page.mouse.down()
    page.mouse.move(left + 0.4 * width, top + 0.5 * height, steps=5)
    page.mouse.up()
    page.wait_for_function("document.getElementById('shown').textContent.includes('brushed')")
    brushed = page.evaluate(f"{DOTS}.selected.indices.map((i) => {DOTS}.data.plan[i])")
    assert 0 < len(brushed) < total
    x, y = page.evaluate(f"""() => {{
        const {{x_scale, y_scale, bbox}} = {SCATTER}.frame
        return [x_scale.invert(bbox.left + {0.4 * width}), y_scale.invert(bbox.top + {0.5 * height})] }}""")
    log = {key: np.log10([getattr(each, key) for each in candidates.values()]) for key in ("params", "macs")}
    logged = {key: values.max() > values.min() + 1 for key, values in log.items()}
    inside = {
        plan
        for plan, each in candidates.items()
        if (np.log10(each.params) if logged["params"] else each.params) <= x
        and (np.log10(each.macs) if logged["macs"] else each.macs) <= y
    }
    assert set(brushed) == inside
    assert page.text_content("#shown") == f"{len(inside):,} of {total:,} shown, brushed"

    # A dot of the front, clicked.
    front = page.evaluate(f"""() => {{
        const view = {SCATTER}, {{x_scale, y_scale}} = view.frame, at = view.el.getBoundingClientRect()
        const {{xs, ys}} = view.model.renderers[1].data_source.data
        return [at.x + x_scale.compute(xs[0][0]), at.y + y_scale.compute(ys[0][0])] }}""")
    page.mouse.move(*front)
    page.mouse.click(*front)
    page.wait_for_function(
        f"document.getElementById('architecture-name').textContent.slice(-12) != '{wanted}'"
    )
    chosen = composed()
    least = min(candidates.values(), key=lambda each: (each.params, each.macs))
    assert (candidates[chosen].params, candidates[chosen].macs) == (least.params, least.macs)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").last.click()
    assert page.evaluate("navigator.clipboard.readText()") == page.text_content("#architecture-yaml")


def drag(page: Any, view: str, ends: tuple[float, float, float, float]) -> list[float]:
    """Drag over a plot between two points, given as shares of its frame; return the box in data."""
    page.evaluate(f"{view}.el.scrollIntoView({{block: 'center'}})")
    left, top, width, height = page.evaluate(f"""() => {{
        const view = {view}, frame = view.frame.bbox, at = view.el.getBoundingClientRect()
        return [at.x + frame.left, at.y + frame.top, frame.width, frame.height] }}""")
    x0, y0, x1, y1 = ends
    page.mouse.move(left + x0 * width, top + y0 * height)
    page.mouse.down()
    page.mouse.move(left + x1 * width, top + y1 * height, steps=5)
    page.mouse.up()
    box: list[float] = page.evaluate(f"""() => {{
        const {{x_scale: x, y_scale: y, bbox}} = {view}.frame
        const at = (share) => bbox.left + share * bbox.width, up = (share) => bbox.top + share * bbox.height
        return [x.invert(at({x0})), x.invert(at({x1})), y.invert(up({y1})), y.invert(up({y0}))] }}""")
    return box


def view_of(height: int) -> str:
    return f"[...Bokeh.index.roots].find((view) => view.model.height == {height})"


HISTOGRAM, PARALLEL = view_of(300), view_of(340)  # the histogram comes before the EDF


def shown(page: Any) -> int:
    return int(page.text_content("#shown").split(" of ")[0].replace(",", ""))


@pytest.mark.slow
def test_brushes_of_every_view_filter_all_of_them(home: Path, browser: Callable[..., Any]) -> None:
    assert main.main([*SPACE, "sampler=grid", "samples=null", "out=s"]) == 0
    page = browser(home / "s/report.html")
    with SweepStore(home / "s", write=False) as store:
        candidates = list(store.candidates())
    macs = np.log10([each.macs for each in candidates])
    macs = macs if macs.max() > macs.min() + 1 else 10**macs
    numbers = [json.loads(each.numbers) for each in candidates]

    # The histogram of MACs, without its lower third.
    low, high, *_ = drag(page, HISTOGRAM, (0.35, 0.5, 0.9, 0.6))
    expected = int(np.count_nonzero((macs >= low) & (macs <= high)))
    assert 0 < expected < len(candidates)
    page.wait_for_function(f"document.getElementById('shown').textContent.startsWith('{expected} of')")
    assert page.evaluate(f"{DOTS}.data.x.length") == len(candidates)
    assert page.evaluate(f"{SCATTER}.model.renderers[0].view.filter.indices.length") == expected
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function(f"document.getElementById('shown').textContent.startsWith('{len(candidates)} of')")

    # One axis of the parallel coordinates, its upper half: a choice, then a number.
    axes = page.evaluate(f"[...{PARALLEL}.model.below[0].major_label_overrides.values()]")
    ends = page.evaluate(f"[{PARALLEL}.model.x_range.start, {PARALLEL}.model.x_range.end]")
    for key, upper in (("depths.0", (2, 3)), ("model/shortcut", ("zero_pad",))):
        place = (axes.index(key.removeprefix("model/")) - ends[0]) / (ends[1] - ends[0])
        drag(page, PARALLEL, (place - 0.02, 0.02, place + 0.02, 0.6))
        expected = sum(own[key] in upper for own in numbers)
        assert 0 < expected < len(candidates)
        page.wait_for_function(f"document.getElementById('shown').textContent.startsWith('{expected} of')")
        left, top, width, height = page.evaluate(f"""() => {{
            const view = {PARALLEL}, frame = view.frame.bbox, at = view.el.getBoundingClientRect()
            return [at.x + frame.left, at.y + frame.top, frame.width, frame.height] }}""")
        page.mouse.dblclick(left + place * width, top + height / 2)
        page.wait_for_function(
            f"document.getElementById('shown').textContent.startsWith('{len(candidates)} of')"
        )


@pytest.mark.slow
def test_a_page_loaded_again_keeps_what_was_chosen(home: Path, browser: Callable[..., Any]) -> None:
    assert main.main([*SPACE, "samples=40", "out=s"]) == 0
    page = browser(home / "s/report.html")
    page.locator("select").first.select_option("activations")
    drag(page, HISTOGRAM, (0.3, 0.5, 0.98, 0.6))
    page.locator("input[type=text]").first.fill("zero_pad")
    drag(page, SCATTER, (0.02, 0.98, 0.7, 0.02))
    page.wait_for_function("document.getElementById('shown').textContent.includes('brushed')")
    page.locator(".slick-cell").first.click()
    page.wait_for_selector("#architecture:not([hidden])")
    before = {key: page.text_content(key) for key in ("#shown", "#architecture-name")}
    brushed = page.evaluate(f"{DOTS}.selected.indices.map((i) => {DOTS}.data.plan[i])")
    assert 0 < shown(page) == len(brushed) < 29

    # More architectures, and so other rows and wider ranges, as while a sweep runs.
    assert main.main([*SPACE, "samples=120", "out=s"]) == 0
    page.reload()
    page.wait_for_function("document.getElementById('shown').textContent.includes('brushed')")
    assert page.evaluate(f"{DOTS}.selected.indices.map((i) => {DOTS}.data.plan[i])") == brushed
    page.wait_for_selector("#architecture:not([hidden])")
    assert page.text_content("#architecture-name") == before["#architecture-name"]
    assert page.locator("select").first.input_value() == "activations"
    assert page.locator("input[type=text]").first.input_value() == "zero_pad"
    assert page.text_content("#shown").split(" of ")[0] == before["#shown"].split(" of ")[0]
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("document.getElementById('shown').textContent.match(/^(\\d+) of \\1 shown$/)")
    page.reload()
    page.wait_for_function("document.getElementById('shown').textContent.match(/^(\\d+) of \\1 shown$/)")

    # Another page begins with everything.
    assert main.main([*SPACE, "samples=20", "out=other"]) == 0
    page.goto((home / "other/report.html").absolute().as_uri())
    page.wait_for_function("document.getElementById('shown').textContent.match(/^(\\d+) of \\1 shown$/)")
    assert page.locator("select").first.input_value() == "parameters"


@pytest.mark.slow
def test_a_finger_scrolls_over_the_plots_below(home: Path, browser: Callable[..., Any]) -> None:
    assert main.main([*SPACE, "samples=20", "out=s"]) == 0
    canvas = "el.shadowRoot.querySelector('.bk-Canvas').shadowRoot.querySelector('.bk-events')"
    for touch, action in ((True, "auto"), (False, "pinch-zoom")):
        page = browser(home / "s/report.html", 375 if touch else 1280, touch=touch)
        found = [
            page.evaluate(f"getComputedStyle({view}.{canvas}).touchAction") for view in (HISTOGRAM, PARALLEL)
        ]
        assert found == [action, action]


@pytest.mark.slow
def test_a_multirun_ends_in_the_same_page(home: Path, browser: Callable[..., Any]) -> None:
    """Each job is a dot, a row, its YAML and its command; what failed is below."""
    (home / "conf/model").mkdir(parents=True)
    (home / "conf/model/mine.yaml").write_text("# mine\ndefaults: [resnet18, _self_]\n")
    words = ["model=resnet18,resnet34,mine", "model.act=relu,silu", "model.groups=1,7", "depth=network"]
    line = ["describe", "-m", *words, "hydra.sweep.dir=runs/m", "--config-dir", "conf"]
    assert main.main(line) == 1
    page = browser(home / "runs/m/report.html")
    assert page.text_content("#shown") == "6 of 6 shown"
    assert page.locator("h2", has_text="Failed").is_visible()
    assert page.locator("td", has_text="not divisible by 7 groups").count() == 6
    wanted = rf.plan(rf.compose("mine", "model.act=silu", config_dir="conf"))
    page.locator("input[type=text]").first.fill("mine silu")
    page.wait_for_function("document.getElementById('shown').textContent.startsWith('1 of')")
    page.locator(".slick-cell").first.click()
    page.wait_for_selector("#architecture:not([hidden])")
    assert page.text_content("#architecture-name") == f"mine_{wanted.id}"
    (home / "model").mkdir()
    (home / page.text_content("#architecture-file")).write_text(page.text_content("#architecture-yaml"))
    assert rf.plan(rf.compose(f"mine_{wanted.id}", config_dir=home)) == wanted
    command = shlex.split(page.text_content("#architecture-command"))
    begin = ["resnet-factory", "describe", "--config-dir", str(home / "conf")]
    assert command == [*begin, "model=mine", "model.act=silu", "model.groups=1", "depth=network"]
    assert main.main(command[1:]) == 0
    assert main.main(line) == 1  # the earlier page stays
    assert {"report.html", "report-1.html"} <= {file.name for file in (home / "runs/m").iterdir()}


def test_settings_of_jobs_are_numbers_or_choices() -> None:
    given = [("model.act=relu", "+data.rate=0.1"), ("model.act=silu", "+data.rate=1e-2"), ("model.act=silu",)]
    jobs = [
        {"words": words, "plan": f"{i}", "overrides": " ".join(words), "params": i, "macs": "",
         "seconds": 0.5, "activations": 2 * i, "base": "resnet18", "model": None,
         "command": "x", "test_error": 10 - i}
        for i, words in enumerate(given)
    ]  # fmt: skip
    table = job_table(jobs[:2], ["test_error"])
    assert table.columns["data.rate"].values.tolist() == [0.1, 0.01]
    assert table.columns["model.act"].names == ["relu", "silu"]
    assert "macs" not in table.columns
    assert table.axes == ("params", "activations")
    assert table.colour == "test_error"
    assert table.columns["test_error"].maximize is False
    assert job_table(jobs, []).columns["data.rate"].names == ["0.1", "1e-2", ""]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(375, "dark"), (700, "light"), (1280, "dark")])
def test_the_page_fits_its_window(home: Path, browser: Callable[..., Any], width: int, scheme: str) -> None:
    assert main.main([*SPACE, "samples=50", "out=s"]) == 0
    page = browser(home / "s/report.html", width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    light = [sum(json.loads(colour.replace("rgb(", "[").replace(")", "]"))) for colour in colours]
    assert (light[0] > light[1]) == (scheme == "dark")
