"""The store of a sweep: one SQLite file that is consistent after every step, however the process ends."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep.evaluation import EvaluatedCandidate
from resnet_factory.sweep.folder_lock import lock_folder
from resnet_factory.sweep.store_schema import SCHEMA, WRITING, integrity_text
from resnet_factory.sweep.templates import ModelTemplate

STORE_FILE = "sweep.sqlite"
STORE_FORMAT = 2
"""SQLite's `user_version` of the file; 0 in those of earlier versions, whose metrics have no environment."""
CHUNK = 4_096
"""Architectures read together."""
FIELDS = ", ".join(EvaluatedCandidate._fields)


class StoredMeasurement(NamedTuple):
    """One metric of one architecture."""

    plan: str
    metric: str
    state: str
    """`ok`, `not applicable`, `failed`, `timeout` or `died`."""
    value: float | None
    low: float | None
    """With `high`: the quartiles, where it was measured more than once."""
    high: float | None
    note: str
    """The conditions, or the reason for any other state."""
    environment: str = ""
    """JSON: host, concurrency, threads and versions; empty where unknown."""


class SweepStore:
    """Reads and writes the store in a folder; a context manager. One process at a time may write.

    `wait` is how many seconds another one is waited for.
    """

    def __init__(self, folder: Path, *, write: bool, wait: float = 0) -> None:
        self.folder = folder
        self.file = folder / STORE_FILE
        self._lock: TextIO | None = None
        nothing = Fault("", f"holds no sweep: no {STORE_FILE} there", f"command line '{folder}'")
        with self._errors_as_faults():
            if write:
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = lock_folder(folder, wait)
            elif not self.file.is_file():
                raise ConfigError([nothing])
            self.connection = sqlite3.connect(self.file, isolation_level=None, timeout=30)
            self._refuse_later_format()
            if write:
                self.connection.executescript(WRITING + SCHEMA)
                if "environment" not in self._columns("metrics"):  # a file of an earlier version
                    self.connection.execute("ALTER TABLE metrics ADD environment TEXT NOT NULL DEFAULT ''")
                self.connection.execute(f"PRAGMA user_version = {STORE_FORMAT}")
            elif not self._columns("run"):
                raise ConfigError([nothing])

    def __enter__(self) -> SweepStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, with its write-ahead log merged into it."""
        with suppress(sqlite3.Error):
            self.connection.close()
        if self._lock is not None:
            self._lock.close()

    def _columns(self, table: str) -> list[str]:
        return [name for (name,) in self._query("SELECT name FROM pragma_table_info(?)", table)]

    def _refuse_later_format(self) -> None:
        (found,) = self.connection.execute("PRAGMA user_version").fetchone()
        if found > STORE_FORMAT:
            self.close()
            message = f"'{self.file}' was written by a later version of resnet-factory (format {found})"
            raise ConfigError([Fault("out", f"{message}; this one reads formats up to {STORE_FORMAT}")])

    @contextmanager
    def _errors_as_faults(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            message = f"'{self.file}' cannot be used: {error}{integrity_text(self.file)}"
            raise ConfigError([Fault("out", message)]) from None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write everything inside the `with` block, or nothing."""
        with self._errors_as_faults():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
                raise

    def _query(self, sql: str, *values: object) -> Iterator[Any]:
        with self._errors_as_faults():
            yield from self.connection.execute(sql, values)

    # The run --------------------------------------------------------------------------------------

    def freeze(self, run: Mapping[str, str], fixed: Sequence[str]) -> None:
        """Store the record of a run; refuse another run in the same folder.

        Raises:
            ConfigError: the file holds a run that differs in one of the `fixed` keys.
        """
        known = self.run()
        if differ := [key for key in fixed if known and known.get(key) != run[key]]:
            message = (
                f"'{self.folder}' holds another sweep (with another {', '.join(differ)}); results are never "
                "mixed: choose another folder with out=…, or omit out= for a new one"
            )
            raise ConfigError([Fault("out", message)])
        with self.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO run VALUES (?, ?)", run.items())

    def run(self) -> dict[str, str]:
        """Return the record of the run."""
        return dict(self._query("SELECT key, value FROM run"))

    def note(self, key: str, value: str) -> None:
        """Add to the record of the run."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO run VALUES (?, ?)", (key, value))

    # Candidates -----------------------------------------------------------------------------------

    def batches(self) -> dict[int, int]:
        """Return the finished batches: first sample -> one past the last."""
        return dict(self._query("SELECT start, stop FROM batches"))

    def add_batch(
        self, start: int, stop: int, candidates: Sequence[EvaluatedCandidate], rejected: Mapping[str, int],
        templates: Sequence[ModelTemplate],
    ) -> int:  # fmt: skip
        """Store a batch as one transaction and return how many architectures of it are new.

        One that is stored already counts as duplicate.
        """
        with self.transaction() as db:
            (known,) = db.execute("SELECT COUNT(*) FROM structures").fetchone()
            added = enumerate(templates[known:], known)
            rows = ((i, json.dumps(t.overrides), t.stages, json.dumps(t.model)) for i, t in added)
            db.executemany("INSERT INTO structures VALUES (?, ?, ?, ?)", rows)
            # A batch that a shorter run ended in the middle is evaluated again.
            db.execute("DELETE FROM archs WHERE sample >= ? AND sample < ?", (start, stop))
            db.executemany("INSERT OR IGNORE INTO archs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", candidates)
            query = "SELECT COUNT(*) FROM archs WHERE sample >= ? AND sample < ?"
            (new,) = db.execute(query, (start, stop)).fetchone()
            counts = Counter(rejected)
            if len(candidates) > new:
                counts["duplicate"] += len(candidates) - new
            db.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, ?)", (start, stop, json.dumps(counts)))
        return int(new)

    def new_among(self, candidates: Sequence[EvaluatedCandidate], start: int) -> list[EvaluatedCandidate]:
        """Return those whose architecture no sample before `start` has, in the order of their samples."""
        plans = json.dumps([one.plan for one in candidates])
        query = "SELECT plan FROM archs WHERE sample < ? AND plan IN (SELECT value FROM json_each(?))"
        known = {plan for (plan,) in self._query(query, start, plans)}
        return sorted((one for one in candidates if one.plan not in known), key=lambda one: one.sample)

    def kept_by_batch(self) -> dict[int, int]:
        """Return the number of architectures that each finished batch added."""
        rows = self._query("SELECT start, stop, rejected FROM batches")
        return {start: stop - start - sum(json.loads(counts).values()) for start, stop, counts in rows}

    def rejected(self) -> Counter[str]:
        """Return the number of rejected samples by reason."""
        total: Counter[str] = Counter()
        for (counts,) in self._query("SELECT rejected FROM batches"):
            total.update(json.loads(counts))
        return total

    def sampled(self) -> int:
        """Return the number of samples so far."""
        return sum(stop - start for start, stop in self.batches().items())

    def structures(self) -> list[ModelTemplate]:
        """Return the templates by index."""
        rows = self._query("SELECT overrides, stages, model FROM structures ORDER BY id")
        return [ModelTemplate(tuple(json.loads(o)), stages, json.loads(model)) for o, stages, model in rows]

    def count(self) -> int:
        """Return the number of architectures."""
        ((count,),) = self._query("SELECT COUNT(*) FROM archs")
        return int(count)

    def candidates(self, plan: str | None = None) -> Iterator[EvaluatedCandidate]:
        """Yield the architectures in the order of their samples, or the one with a plan id."""
        where = "WHERE plan = ?1" if plan else "WHERE ?1 IS NULL"
        query = f"SELECT {FIELDS} FROM archs {where} ORDER BY sample"  # noqa: S608
        yield from map(EvaluatedCandidate._make, self._query(query, plan))

    def candidates_of(self, plans: Sequence[str]) -> list[EvaluatedCandidate]:
        """Return the architectures with these plan ids, in their order."""
        query = f"SELECT {FIELDS} FROM archs WHERE plan IN (SELECT value FROM json_each(?))"  # noqa: S608
        rows = self._query(query, json.dumps(plans))
        found = {one.plan: one for one in map(EvaluatedCandidate._make, rows)}
        return [found[plan] for plan in plans]

    def columns(self, *names: str, most: int = -1) -> Iterator[tuple[tuple[Any, ...], ...]]:
        """Yield columns of the first `most` architectures in the order of their samples, CHUNK at a time."""
        query = f"SELECT {', '.join(names)} FROM archs ORDER BY sample LIMIT ?"  # noqa: S608
        with self._errors_as_faults():
            rows = self.connection.execute(query, (most,))
            while chunk := rows.fetchmany(CHUNK):
                yield tuple(zip(*chunk, strict=True))

    # Measurements ---------------------------------------------------------------------------------

    def lacking(self, metrics: Sequence[str]) -> dict[str, list[str]]:
        """Return plan id -> metrics that are not measured yet, in the order of the samples."""
        have: dict[str, set[str]] = {}
        for plan, metric in self._query("SELECT plan, metric FROM metrics"):
            have.setdefault(plan, set()).add(metric)
        plans = [plan for (plan,) in self._query("SELECT plan FROM archs ORDER BY sample")]
        wanted = {plan: [m for m in metrics if m not in have.get(plan, ())] for plan in plans}
        return {plan: missing for plan, missing in wanted.items() if missing}

    def begin(self, plan: str) -> int:
        """Count a start of measuring a plan; return the number of starts."""
        insert = "INSERT INTO begun VALUES (?, 1) ON CONFLICT (plan) DO UPDATE SET times = times + 1"
        with self.transaction() as db:
            db.execute(insert, (plan,))
            (times,) = db.execute("SELECT times FROM begun WHERE plan = ?", (plan,)).fetchone()
        return int(times)

    def take_back(self, plan: str) -> None:
        """Subtract a start that was interrupted."""
        with self.transaction() as db:
            db.execute("UPDATE begun SET times = times - 1 WHERE plan = ?", (plan,))
            db.execute("DELETE FROM begun WHERE times <= 0")

    def failed(self, plan: str) -> bool:
        """Return whether a measurement of this plan failed."""
        states = "state IN ('failed', 'timeout', 'died')"
        return any(self._query(f"SELECT 1 FROM metrics WHERE plan = ? AND {states}", plan))  # noqa: S608

    def add_measured(
        self, rows: Sequence[StoredMeasurement], metrics: str = "", seconds: float = 0.0
    ) -> None:
        """Store the metrics of one architecture, and the time they took; those stored before stay."""
        with self.transaction() as db:
            if metrics and rows:
                spent = (rows[0].plan, metrics, seconds)
                db.execute("INSERT OR REPLACE INTO spent VALUES (?, ?, ?)", spent)
            db.executemany("INSERT OR IGNORE INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            db.executemany("DELETE FROM begun WHERE plan = ?", {(row.plan,) for row in rows})

    def measured(self, plan: str | None = None) -> Iterator[StoredMeasurement]:
        """Yield every metric measured, or those of the architecture with a plan id."""
        where = "WHERE plan = ?1" if plan else "WHERE ?1 IS NULL"
        for row in self._query(f"SELECT * FROM metrics {where} ORDER BY plan, metric", plan):  # noqa: S608
            yield StoredMeasurement(*row)  # earlier versions stored no environment

    def metrics(self) -> list[str]:
        """Return the metrics that have a measurement."""
        return [metric for (metric,) in self._query("SELECT DISTINCT metric FROM metrics ORDER BY metric")]

    def spent(self) -> list[tuple[str, int, float]]:
        """Return metrics measured together, of how many architectures, and the seconds that it took."""
        if not self._columns("spent"):  # a file of an earlier version
            return []
        query = "SELECT metrics, COUNT(*), SUM(seconds) FROM spent GROUP BY metrics ORDER BY metrics"
        return list(self._query(query))

    def forget_failures(self) -> None:
        """Delete failures, so that they are measured again."""
        with self.transaction() as db:
            db.execute("DELETE FROM metrics WHERE state IN ('failed', 'timeout', 'died')")


def stored_metrics(folder: Path) -> list[str]:
    """Return the metrics measured so far in a folder; none where no sweep is."""
    if not (folder / STORE_FILE).is_file():
        return []
    with SweepStore(folder, write=False) as store:
        return store.metrics()
