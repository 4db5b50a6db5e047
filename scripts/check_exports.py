"""Export every kind of shipped model, made small, hold each file against the network, and print a table.

    scripts/check_exports ['resnet*' regnety_002] [--to onnx] [--whole] [--results exports.csv]

The tests export a few; this takes half an hour, and hours for whole networks. With --results, each result is
appended to a CSV file as it comes, and what the file has is not exported again: it can be done in parts. Exit
code 1: an export was refused.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import logging
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch

import resnet_factory as rf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from references import randomise
from small_networks import image_of, small_plans

from resnet_factory.network.builder import assemble_network
from resnet_factory.network.runtimes.choices import DYNAMIC
from resnet_factory.network.runtimes.export import TOLERANCE, export_program
from resnet_factory.network.runtimes.formats import FORMATS

PACKAGES = {"onnx": ("onnx", "onnxruntime"), "openvino": ("openvino",)}


class Result(NamedTuple):
    model: str
    to: str
    dynamic: str
    difference: float
    reason: str = ""


def export_one(name: str, plan: rf.Plan, to: str) -> Result:
    torch.manual_seed(0)
    network = assemble_network(plan).eval()
    randomise(network)
    image = plan.image if network.pretrained_cfg["fixed_input_size"] else image_of(plan)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        file = Path(folder) / f"n{FORMATS[to].kind.endings[0]}"
        try:
            done = export_program(network, file, to, image=image)
        except rf.ConfigError as error:
            return Result(name, to, "", float("inf"), " ".join(str(error).split()))
    return Result(name, to, done.dynamic, done.difference)


def results_of(file: Path | None) -> dict[tuple[str, str], Result]:
    if file is None or not file.exists():
        return {}
    with file.open(newline="") as stream:
        rows = [Result(row[0], row[1], row[2], float(row[3]), row[4]) for row in csv.reader(stream)]
    return {(row.model, row.to): row for row in rows}


def table(results: list[Result], formats: list[str]) -> str:
    lines = [
        "| `to` | networks | refused | of any size | of one size | largest difference |",
        "|---|---|---|---|---|---|",
    ]
    for to in formats:
        rows = [row for row in results if row.to == to]
        done = [row for row in rows if not row.reason]
        counts = [sum(row.dynamic == kind for row in done) for kind in DYNAMIC[:2]]
        worst = max(done, key=lambda row: row.difference, default=None)
        largest = f"{worst.difference:.1e}, {worst.model}" if worst else ""
        cells = (f"`{to}`", len(rows), len(rows) - len(done), *counts, largest)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("patterns", nargs="*", default=["*"], help="names of models, or globs; quoted")
parser.add_argument("--to", nargs="+", choices=PACKAGES, default=list(PACKAGES))
parser.add_argument("--whole", action="store_true", help="all models as they are, on small images")
parser.add_argument("--results", type=Path, help="a CSV file to go on with")
given = parser.parse_args()
logging.disable(logging.WARNING)  # torch's exporter on what it cannot prove of sizes
every = list(rf.list_models()) if given.whole else list(small_plans())
names = [name for name in every if any(fnmatch.fnmatch(name, each) for each in given.patterns)]
if not names:
    parser.error(f"no model is called {' or '.join(given.patterns)}; known are {', '.join(every)}")
known, results = results_of(given.results), []
for name in names:
    plan = rf.plan(name) if given.whole else small_plans()[name]
    for to in given.to:
        result = known.get((name, to))
        if result is None or result.reason:
            result = export_one(name, plan, to)
            told = (
                f"REFUSED {result.reason}" if result.reason else f"{result.dynamic} {result.difference:.1e}"
            )
            print(f"{name} {to} {told}", flush=True)
            if given.results is not None:
                with given.results.open("a", newline="") as stream:
                    csv.writer(stream).writerow(result)
        results.append(result)
print()
print(table(results, given.to))
versions = ", ".join(f"{each} {version(each)}" for to in given.to for each in PACKAGES[to])
print(f"\ntorch {torch.__version__}, {versions}; allowed {TOLERANCE:g}")
raise SystemExit(any(result.reason for result in results))
