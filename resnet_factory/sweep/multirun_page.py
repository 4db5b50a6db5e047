"""The page of a multirun: the views of a sweep's page over its jobs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnet_factory.config.file_access import write_whole_file
from resnet_factory.reporting.templating import render_template
from resnet_factory.sweep.html_table import HtmlTable
from resnet_factory.sweep.objectives import METRICS
from resnet_factory.sweep.page.architecture_texts import MOST, ArchitectureTexts
from resnet_factory.sweep.page.columns import PageColumn, PageColumnTable
from resnet_factory.sweep.page.document import page_document_parts
from resnet_factory.sweep.population import BASIC_COSTS
from resnet_factory.sweep.winners import winner_yaml_text

OK = "ok"


def write_multirun_page(
    file: Path, title: str, jobs: Sequence[Mapping[str, Any]], figures: Sequence[str]
) -> None:
    """Write the page of jobs; those that failed are a table below it.

    A job has `overrides`, `state`, `error`, `plan`, costs, the `figures` of its command, and for its text
    `words`, `base`, `model` (plain data, or None) and `command`.

    Raises:
        OSError: the file cannot be written.
    """
    done = [job for job in jobs if job["state"] == OK]
    failed = [[str(job["job"]), job["overrides"], job["error"]] for job in jobs if job["state"] != OK]
    context = {
        "title": title,
        "jobs": f"{len(jobs):,} jobs, {len(failed):,} failed",
        "page": page_document_parts(job_table(done, figures)) | {"all": len(done)},
        "failed": HtmlTable(["job", "overrides", "error"], failed, [False, True, True]),
    }
    write_whole_file(file, render_template("multirun_report.html", context))


def job_table(jobs: Sequence[Mapping[str, Any]], figures: Sequence[str]) -> PageColumnTable:
    """Return the rows of a multirun's page: one for each job."""
    metrics = {name: _numbers(jobs, name) for name in (*BASIC_COSTS, *figures, "seconds")}
    columns = {name: column for name, column in metrics.items() if column.finite.size}
    columns |= {name: column for name, column in _settings(jobs) if name not in columns}
    settings = [name for name in columns if name not in metrics]
    axes = [name for name in columns if columns[name].maximize is not None] or [*columns]
    recipes = [_recipe(job) for job in jobs[:MOST]]
    return PageColumnTable(
        columns=columns,
        texts={name: [str(job[name]) for job in jobs] for name in ("plan", "overrides")},
        recipe=[i if i < len(recipes) else -1 for i in range(len(jobs))],
        recipes=[vars(recipe) for recipe in recipes],
        axes=(axes[0], axes[min(1, len(axes) - 1)]),
        colour=next(iter([name for name in figures if name in columns] or settings), axes[-1]),
    )


def _numbers(jobs: Sequence[Mapping[str, Any]], name: str) -> PageColumn:
    known = METRICS.get(name)
    values = [job[name] if isinstance(job.get(name), (int, float)) else math.nan for job in jobs]
    maximize = known.maximize if known else False if name.endswith(("error", "loss")) else None
    label = known.label if known else name.replace("_", " ")
    return PageColumn(label=label, values=np.array(values, float), maximize=maximize)


def _settings(jobs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, PageColumn]]:
    """Yield the keys whose values differ among jobs: as numbers where all are, else by name."""
    given = [dict(word.lstrip("+").partition("=")[::2] for word in job["words"]) for job in jobs]
    for key in dict.fromkeys(key for each in given for key in each):
        texts = [each.get(key, "") for each in given]
        if len({*texts}) < 2:
            continue
        label = key.removeprefix("model.").removeprefix("model/")
        try:
            numbers = [float(text) for text in texts]
            if not all(map(math.isfinite, numbers)):
                raise ValueError
            yield key, PageColumn(label=label, values=np.array(numbers))
        except ValueError:
            names = list(dict.fromkeys(texts))
            codes = np.array([names.index(text) for text in texts], float)
            yield key, PageColumn(label=label, values=codes, names=names)


def _recipe(job: Mapping[str, Any]) -> ArchitectureTexts:
    text = "# the command has it" if job["model"] is None else winner_yaml_text(job["model"])
    return ArchitectureTexts(base=job["base"], yaml=text, command=job["command"], keys=())
