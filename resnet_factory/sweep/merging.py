"""Sweeps of one space merged into one: other seeds, other machines, other metrics."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_factory.errors import ConfigError, Fault, path_of
from resnet_factory.sweep.run import MERGED
from resnet_factory.sweep.store import StoredMeasurement, SweepStore
from resnet_factory.sweep.stored_sweep import Sweep
from resnet_factory.sweep.templates import ModelTemplate

SAME = {"space": "space", "image": "image size", "costing": "batch or type of windows on memory"}
"""Parts of the record that merged sweeps share, and what they are called."""


def merge_sweeps(*sweeps: Sweep | str | Path, out: str | Path) -> Sweep:
    """Merge sweeps of one space into a new one in the folder `out` and return it.

    Of an architecture that several have, the first one's sample counts, and of a metric of it the first one's
    value. The merged sweep is reported, measured and told like any other; it draws no further samples.

    Raises:
        ConfigError: with everything in which the sweeps differ but may not, or if `out` is there already.
    """
    opened = [one if isinstance(one, Sweep) else Sweep(one) for one in sweeps]
    target = path_of(out, "out").expanduser()
    if len(opened) < 2:
        raise ConfigError([Fault("merge_sweeps()", f"expected two sweeps or more, found {len(opened)}")])
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError([Fault("out", f"'{target}' is there already; choose another folder")])
    records = [one.record() for one in opened]
    if faults := list(_differences(opened, records)):
        raise ConfigError(faults)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            with SweepStore(made, write=True) as store:
                _fill(store, opened, records)
            made.chmod(0o755)
            made.replace(target)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
    except OSError as error:
        raise ConfigError([Fault("out", f"'{target}' cannot be written: {error}")]) from None
    return Sweep(target)


def _differences(sweeps: Sequence[Sweep], records: Sequence[Mapping[str, str]]) -> list[Fault]:
    """Return a fault for each sweep that is not of the first one's space, or was measured otherwise."""
    faults = []
    first, *others = zip(sweeps, records, strict=True)
    conditions: dict[str, tuple[Sweep, Any]] = {}
    for sweep, record in (first, *others):
        if differ := [name for key, name in SAME.items() if record.get(key) != first[1].get(key)]:
            message = f"'{sweep.folder}' has another {' and '.join(differ)} than '{first[0].folder}'"
            faults.append(Fault("merge_sweeps()", f"{message}; rf.compare_sweeps compares them"))
        for metric, own in json.loads(record.get("conditions", "{}")).items():
            known, wanted = conditions.setdefault(metric, (sweep, own))
            if own != wanted:
                message = f"'{sweep.folder}' has {metric} measured under other conditions than "
                message += f"'{known.folder}'; results are never mixed"
                faults.append(Fault("merge_sweeps()", message))
    return faults


def _fill(store: SweepStore, sweeps: Sequence[Sweep], records: Sequence[Mapping[str, str]]) -> None:
    first = records[0]
    together = {
        key: json.dumps({k: v for one in records for k, v in json.loads(one.get(key, "{}")).items()})
        for key in ("conditions", "own_metrics", "layers")
    }
    seeds = ", ".join(dict.fromkeys(record["seed"] for record in records))
    record = {
        **first, **together, "sampler": MERGED, "seed": seeds, "samples": "0", "architectures": "null",
        "metrics": "[]", "asked": "{}", "met": "{}",
        "merged": json.dumps([str(one.folder) for one in sweeps]),
    }  # fmt: skip
    store.freeze(record, ())
    templates: dict[tuple[tuple[str, ...], int], ModelTemplate] = {}
    start = 0
    for sweep in sweeps:
        with SweepStore(sweep.folder, write=False) as source:
            start = _add(store, source, templates, start)


def _add(
    store: SweepStore,
    source: SweepStore,
    templates: dict[tuple[tuple[str, ...], int], ModelTemplate],
    start: int,
) -> int:
    """Add all of one sweep, its samples counted from `start`; return where the next one begins.

    `templates` are those of all sweeps, by overrides and number of stages.
    """
    own = source.structures()
    keys = [(template.overrides, template.stages) for template in own]
    for key, template in zip(keys, own, strict=True):
        templates.setdefault(key, template)
    index = {key: number for number, key in enumerate(templates)}
    candidates = [
        one._replace(sample=start + one.sample, structure=index[keys[one.structure]])
        for one in source.candidates()
    ]
    stop = start + max(source.batches().values(), default=0)
    if stop > start:
        store.add_batch(start, stop, candidates, source.rejected(), [*templates.values()])
    measured: dict[str, list[StoredMeasurement]] = {}
    for row in source.measured():
        measured.setdefault(row.plan, []).append(row)
    for rows in measured.values():
        store.add_measured(rows)
    return stop
