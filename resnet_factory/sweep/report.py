"""The HTML report of a sweep, and its figures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from resnet_factory.config import pruning
from resnet_factory.config.file_access import write_whole_file
from resnet_factory.errors import ConfigError
from resnet_factory.planning.planner import run_planner
from resnet_factory.reporting.drawing import draw
from resnet_factory.reporting.templating import render_template
from resnet_factory.sweep import analysis, figures
from resnet_factory.sweep.html_table import HtmlTable
from resnet_factory.sweep.importance import parameter_importance
from resnet_factory.sweep.measuring import measuring_model
from resnet_factory.sweep.objectives import Objective, ObjectiveRanking
from resnet_factory.sweep.page.architectures import page_table_of_architectures
from resnet_factory.sweep.page.document import page_document_parts
from resnet_factory.sweep.population import BASIC_COSTS
from resnet_factory.sweep.results import Winners
from resnet_factory.sweep.results_table import ResultsTable
from resnet_factory.sweep.rows import architecture_rows, row_key_title
from resnet_factory.sweep.store import SweepStore
from resnet_factory.sweep.vector import Array
from resnet_factory.sweep.windows import format_window_limit

DISTRIBUTION_NAMES = {
    "choice": "one of", "range": "uniform", "log": "log-uniform", "log_up": "log-uniform, rounded up",
}  # fmt: skip


PICTURES = 10
"""Winners whose picture is in the page."""


def write_sweep_report(
    store: SweepStore,
    results: ResultsTable,
    ranking: ObjectiveRanking,
    winners: Winners,
    config_dir: str | Path | None = None,
    refresh: int | None = None,
) -> Path:
    """Write `report.html` and its figures into the sweep's folder.

    `config_dir` holds models and recipes that are not shipped. With `refresh`, browsers load the page again
    after so many seconds.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = store.folder / "figures"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    target = store.folder / "report.html"
    context = SweepReport(store, results, config_dir).context(ranking, winners)
    write_whole_file(target, render_template("sweep_report.html", context | {"refresh": refresh}))
    return target


class SweepReport:
    """Builds the parts of the report."""

    def __init__(
        self, store: SweepStore, results: ResultsTable, config_dir: str | Path | None = None
    ) -> None:
        self.store, self.results, self.config_dir = store, results, config_dir
        self.run, self.templates = store.run(), store.structures()

    def context(self, ranking: ObjectiveRanking, winners: Winners) -> dict[str, object]:
        """Return what the template shows."""
        run, results, sampled = self.run, self.results, self.store.sampled()
        versions = ", ".join(filter(None, (run["versions"], run.get("torch"))))
        medians = {
            f"{figures.sweep_figure_axis_label(metric)}, median": figures.sweep_figure_number(
                np.median(results.metrics[metric])
            )
            for metric in BASIC_COSTS
        }
        rejected = {f"rejected: {reason}": count for reason, count in self.store.rejected().items()}
        counts = sorted({"kept": len(results), **rejected}.items(), key=lambda item: -item[1])
        latency, image = results.measured.get("latency"), json.loads(run["image"])
        errors = None
        if results.error is not None:
            figure = self.figure("errors", figures.error_distribution_figure(results, results.error.metric))
            errors = {"joining": results.joining() if results.joined else "", "figure": figure}
        return {
            "title": f"Sweep of {run['name']}",
            "versions": f"{versions} · {run['machine']}",
            "tiles": {
                "samples": f"{sampled:,}",
                "distinct architectures kept": f"{len(results):,}",
                "sampler, seed": f"{run['sampler']}, {run['seed']}",
                **medians,
            },
            "partial": list(
                results.partial(sampled, int(run["samples"]), json.loads(run.get("architectures", "null")))
            ),
            "samples": [(name, count, 100 * count / max(sampled, 1)) for name, count in counts],
            "winners": self.winners(winners) if winners.indices.size else None,
            "fronts": [self.front(first, second) for first, second in ranking.pareto],
            "errors": errors,
            "page": self.page(ranking, winners),
            "pictures": dict(self.pictures(winners)),
            "best": self.best(ranking.by or results.error),
            "importance": self.importance(ranking),
            "environments": len(latency.environments) if latency else 0,
            "measured": self.measured() if results.measured else None,
            "dimensions": HtmlTable(
                ["parameter", "distribution", "values"], list(_sweep_report_dimensions(run)), [True] * 3
            ),
            "conditions": HtmlTable(["condition"], list(_sweep_report_conditions(run)), [True]),
            "rounding": (json.loads(run["generator"]) or {}).get("rounding"),
            "image": "x".join(map(str, image)) if image else "each model's own",
            "base": run["base"],
        }

    def page(self, ranking: ObjectiveRanking, winners: Winners) -> dict[str, Any]:
        """Return the linked views."""
        table = page_table_of_architectures(
            self.results, self.templates, self.run, ranking, winners.indices, config_dir=self.config_dir
        )
        self.figure("distributions", figures.metric_histograms_figure(self.results, self.results.known))
        return page_document_parts(table) | {"all": len(self.results)}

    def pictures(self, winners: Winners) -> Iterator[tuple[str, Markup]]:
        """Yield the pictures of the first winners by plan."""
        for candidate in self.results.candidates(winners.indices[:PICTURES]):
            model = pruning.read_pruned(measuring_model(candidate, self.templates[candidate.structure]))
            with suppress(ConfigError):
                planned = run_planner(model)
                image = json.loads(self.run["image"])
                shape = (planned.in_channels, *image) if image else None
                yield candidate.plan, Markup(draw(planned, shape))  # noqa: S704 - our own SVG, escaped

    def figure(self, name: str, figure: Figure) -> Markup:
        """Write a figure to its file and return it as SVG."""
        text = figures.sweep_figure_svg(figure)
        file = re.sub(r"[^\w.-]+", "_", name)  # a joined column may have any name
        write_whole_file(self.store.folder / "figures" / f"{file}.svg", text)
        return Markup(text)  # noqa: S704 - matplotlib escapes texts

    def table(
        self, indices: Array, ranked: Sequence[Objective], others: Sequence[str], title: str
    ) -> tuple[HtmlTable, list[tuple[list[int], list[int]]]]:
        """Return architectures as a numbered table, and their depths and widths."""
        metrics = [objective.metric for objective in ranked]
        rows = architecture_rows(self.results, self.templates, self.run["base"], indices, metrics, others)
        plans = [self.results.plans[i] for i in indices]
        columns = {
            "#": [str(number) for number in range(1, len(indices) + 1)],
            title: [f"`{name}`" for name in (rows.names if title == "model" else plans)],
            **{figures.sweep_figure_axis_label(metric): cells for metric, cells in rows.ranked.items()},
            **rows.settings,
            **{figures.sweep_figure_axis_label(metric): cells for metric, cells in rows.others.items()},
        }
        left = [name == title or name in rows.settings for name in columns]
        return HtmlTable(list(columns), list(zip(*columns.values(), strict=True)), left), rows.stages

    def winners(self, winners: Winners) -> dict[str, object]:
        """Return the table of the winners, and their width profiles."""
        table, stages = self.table(winners.indices, winners.objectives, self.results.known, "model")
        depths = ["-".join(map(str, each)) for each, _ in stages[:12]]
        names = [f"{number}: {text}" for number, text in enumerate(depths, 1)]
        figure = self.figure("profiles", figures.width_profiles_figure(stages[:12], names))
        folder = self.store.folder / "winners"
        return {"reason": winners.reason, "folder": folder, "table": table, "figure": figure}

    def front(self, first: Objective, second: Objective) -> tuple[str, HtmlTable]:
        """Return a Pareto front's title, and a table of the architectures that are numbered in its figure."""
        picked = figures.pareto_figure_picks(self.results, first, second, 8)
        drawing = figures.pareto_figure(self.results, first, second, picked)
        indices = self.results.front(first, second)[picked]
        table, _ = self.table(indices, (first, second), (), "plan")
        name = f"front_{first.metric}_{second.metric}"
        self.figure(name, drawing)
        better = [
            f"{'more' if one.maximize else 'less'} {figures.sweep_figure_axis_label(one.metric)}"
            for one in (first, second)
        ]
        size = len(self.results.front(first, second))
        return (
            f"{' and '.join(better)}: {size:,} on the front, up to 8 listed; figure: figures/{name}.svg",
            table,
        )

    def best(self, by: Objective | None) -> dict[str, object] | None:
        """Return the ranges of sampled keys among the best; None where nothing is ranked or varies."""
        results = self.results
        keys = [key for key, values in results.numbers.items() if len(np.unique(values)) > 1]
        if not by or not keys or np.isfinite(results.minimised(by)).sum() < 2:
            return None
        choices = [key in results.choices for key in keys]
        figure = self.figure("best_ranges", figures.best_ranges_figure(results, by, keys))
        return {"by": by, "numbers": not all(choices), "choices": any(choices), "figure": figure}

    def importance(self, ranking: ObjectiveRanking) -> dict[str, Any] | None:
        """Return the share of every metric's variance that each sampled key explains; None if none varies."""
        results = self.results
        keys = [key for key, values in results.numbers.items() if len(np.unique(values)) > 1]
        asked = [ranking.by.metric] if ranking.by is not None else []
        metrics = [*dict.fromkeys([*asked, *results.joined, *results.measured, *results.known])]
        metrics = [name for name in metrics if np.isfinite(results.metrics[name]).sum() >= 10][:6]
        if not keys or not metrics:
            return None
        rows = []
        for key in keys:
            found = [parameter_importance(results.numbers[key], results.metrics[name]) for name in metrics]
            rows.append((row_key_title(key), found))
        rows.sort(key=lambda row: -row[1][0].share)
        heads = [
            (figures.sweep_figure_axis_label(name), each.size)
            for name, each in zip(metrics, rows[0][1], strict=True)
        ]
        return {"heads": heads, "rows": rows}

    def rank_agreement(self, metric: str, other: str) -> str:
        """Return Kendall's tau of being better by one metric and by another, or having more of a cost."""
        columns = []
        for name in (metric, other):
            more = name in BASIC_COSTS or self.results.metric(name).maximize
            columns.append(self.results.metrics[name] * (1 if more else -1))
        found = analysis.kendall(*columns) if metric != other else None
        if found is None:
            return ""
        interval = f" [{found.low:.2f}, {found.high:.2f}]" if math.isfinite(found.low) else ""
        return f"{found.tau:.2f}{interval}, n={found.ranked:,}"

    def measured(self) -> HtmlTable:
        """Return the table of the measured metrics."""
        results, others = self.results, {"params": "params", "macs": "MACs"}
        if (error := results.error) is not None:
            others[error.metric] = error.metric
        rows = []
        for metric, measured in results.measured.items():
            values = results.metrics[metric]
            width = np.abs(measured.high - measured.low)[values != 0] / np.abs(values)[values != 0]
            width = width[np.isfinite(width)]
            environments = measured.environments.most_common(3)
            rows.append([
                metric, "more" if results.metric(metric).maximize else "less",
                ", ".join(f"{count:,} {state}" for state, count in measured.states.most_common()),
                f"{100 * float(np.median(width)):.1f} %" if width.size else "",
                *(self.rank_agreement(metric, other) for other in others),
                "; ".join(f"{note} ({count:,})" for note, count in measured.notes.most_common(3)),
                "; ".join(f"{name} ({count:,})" for name, count in environments),
            ])  # fmt: skip
        ranks = [f"tau with {name}" for name in others.values()]
        head = ["metric", "better", "outcome", "spread", *ranks, "conditions and reasons", "measured on"]
        return HtmlTable(head, rows, [not name.startswith("tau with") for name in head])


def _sweep_report_dimensions(run: Mapping[str, str]) -> Iterator[list[str]]:
    for key, kind, values, low, high, step in json.loads(run["dimensions"]):
        text = f"{low:g} to {high:g}" + (f" in steps of {step:g}" if step else "")
        text = ", ".join(map(str, values)) if kind == "choice" else text
        yield [f"`{key}`", DISTRIBUTION_NAMES.get(kind, kind), text]


def _sweep_report_conditions(run: Mapping[str, str]) -> Iterator[list[str]]:
    for relation in json.loads(run["relations"]):
        yield [f"`{relation}`"]
    windows: dict[str, Any] = json.loads(run["windows"])
    for key, (low, high) in windows.items():
        least = f"{format_window_limit(low)} <= " if low > -math.inf else ""
        most = f" <= {format_window_limit(high)}" if high < math.inf else ""
        yield [f"`{least}{key}{most}`"]
