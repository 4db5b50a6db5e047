"""The results of one sweep: one SQLite file that is whole after every step, whatever ends the process."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TextIO

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep.evaluation import Candidate, Structure

FILE = "sweep.sqlite"
FORMAT = 2
"""SQLite's `user_version` of the file; 0 in those of earlier versions, whose metrics have no environment."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS run (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS structures (id INTEGER PRIMARY KEY, overrides TEXT, stages INTEGER, model TEXT);
CREATE TABLE IF NOT EXISTS batches (start INTEGER PRIMARY KEY, stop INTEGER NOT NULL, rejected TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS archs (
    plan TEXT PRIMARY KEY, sample INTEGER NOT NULL, structure INTEGER NOT NULL, numbers TEXT NOT NULL,
    changes TEXT NOT NULL, params INTEGER NOT NULL, macs INTEGER NOT NULL, activations INTEGER NOT NULL,
    further TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS in_order ON archs (sample);
CREATE TABLE IF NOT EXISTS metrics (
    plan TEXT NOT NULL, metric TEXT NOT NULL, state TEXT NOT NULL, value REAL, low REAL, high REAL,
    note TEXT NOT NULL, environment TEXT NOT NULL DEFAULT '', PRIMARY KEY (plan, metric)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS begun (plan TEXT PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID;
"""


class Measured(NamedTuple):
    """One metric of one architecture."""

    plan: str
    metric: str
    state: str
    """`ok`, `not applicable`, `failed`, `timeout` or `died`."""
    value: float | None
    low: float | None
    """With `high`: the middle half of what was seen, where it was measured more than once."""
    high: float | None
    note: str
    """The conditions, or the reason for any other state."""
    environment: str = ""
    """JSON: the host, how many at a time, threads and versions; empty where nothing says."""


class Store:
    """Reads and writes one results file. One process at a time may write."""

    def __init__(self, folder: Path, *, write: bool) -> None:
        self.folder = folder
        self.file = folder / FILE
        self._lock: TextIO | None = None
        with self._clear():
            if write:
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = _locked(folder)
            elif not self.file.is_file():
                raise ConfigError([Fault("", f"holds no sweep: no {FILE} there", f"command line '{folder}'")])
            self.connection = sqlite3.connect(self.file, isolation_level=None, timeout=30)
            self._refuse_newer()
            if write:
                self.connection.execute("PRAGMA journal_mode=WAL")
                self.connection.execute("PRAGMA synchronous=NORMAL")
                self.connection.executescript(SCHEMA)
                self._date_up()
            elif not self._columns("run"):
                raise ConfigError([Fault("", f"{FILE} there holds no sweep", f"command line '{folder}'")])

    def close(self) -> None:
        """Close the file; what is stored is folded into it."""
        with suppress(sqlite3.Error):
            self.connection.close()
        if self._lock is not None:
            self._lock.close()

    def _columns(self, table: str) -> list[str]:
        return [
            name for (name,) in self.connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
        ]

    def _refuse_newer(self) -> None:
        (found,) = self.connection.execute("PRAGMA user_version").fetchone()
        if found > FORMAT:
            self.close()
            message = f"'{self.file}' was written by a later version of resnet-factory (format {found})"
            raise ConfigError([Fault("out", f"{message}; this one reads formats up to {FORMAT}")])

    def _date_up(self) -> None:
        """Bring a file of an earlier version into today's format."""
        if "environment" not in self._columns("metrics"):
            self.connection.execute("ALTER TABLE metrics ADD COLUMN environment TEXT NOT NULL DEFAULT ''")
        self.connection.execute(f"PRAGMA user_version = {FORMAT}")

    @contextmanager
    def _clear(self) -> Iterator[None]:
        """Anything the file system or SQLite refuses, said clearly."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            message = f"'{self.file}' cannot be used: {error}{self._condition()}"
            raise ConfigError([Fault("out", message)]) from None

    def _condition(self) -> str:
        """What SQLite's own check says of what is stored; empty where there is nothing to be checked."""
        if not self.file.is_file():
            return ""
        place = f"{self.file.absolute().as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(place, uri=True)) as db:
                (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.OperationalError:  # it cannot be opened, which says nothing of what is in it
            return ""
        except sqlite3.DatabaseError as error:
            found = str(error)
        if found == "ok":
            return "; what was stored before is whole"
        reason = " ".join(found.replace("*** in database main ***", "").split())
        return f"; the file is damaged ({reason}): take it from a copy, or begin anew with another out=…"

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._clear():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
                raise

    # What is run ----------------------------------------------------------------------------------

    def freeze(self, run: Mapping[str, str], fixed: Sequence[str]) -> None:
        """Note what is run; refuse another run in the same place.

        Raises:
            ConfigError: the file holds a run that differs in one of the `fixed` keys.
        """
        known = self.run()
        differ = [key for key in fixed if known and known.get(key) != run[key]]
        if differ:
            message = (
                f"'{self.folder}' holds another sweep (its {', '.join(differ)} differ); results are never "
                "mixed: choose another folder with out=…, or leave out= away for one of its own"
            )
            raise ConfigError([Fault("out", message)])
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO run VALUES (?, ?)", run.items())

    def run(self) -> dict[str, str]:
        """What was noted about the run."""
        with self._clear():
            return dict(self.connection.execute("SELECT key, value FROM run"))

    def note(self, key: str, value: str) -> None:
        """Note something about the run that was found on the way."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO run VALUES (?, ?)", (key, value))

    # Candidates -----------------------------------------------------------------------------------

    def batches(self) -> dict[int, int]:
        """The batches that are done: first sample -> one past the last."""
        with self._clear():
            return dict(self.connection.execute("SELECT start, stop FROM batches"))

    def add_batch(
        self, start: int, stop: int, candidates: Sequence[Candidate], rejected: Mapping[str, int],
        structures: Sequence[Structure],
    ) -> None:  # fmt: skip
        """Store one batch, whole or not at all; an architecture known from before counts as duplicate."""
        with self._transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO structures VALUES (?, ?, ?, ?)",
                [
                    (i, json.dumps(s.overrides), s.stages, json.dumps(s.model))
                    for i, s in enumerate(structures)
                ],
            )
            # A batch that a shorter run ended in the middle is done again, whole.
            db.execute("DELETE FROM archs WHERE sample >= ? AND sample < ?", (start, stop))
            db.executemany("INSERT OR IGNORE INTO archs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", candidates)
            (new,) = db.execute(
                "SELECT COUNT(*) FROM archs WHERE sample >= ? AND sample < ?", (start, stop)
            ).fetchone()
            counts = Counter(rejected)
            if len(candidates) > new:
                counts["duplicate"] += len(candidates) - new
            db.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, ?)", (start, stop, json.dumps(counts)))

    def rejected(self) -> Counter[str]:
        """How many samples were rejected by what."""
        total: Counter[str] = Counter()
        with self._clear():
            for (counts,) in self.connection.execute("SELECT rejected FROM batches"):
                total.update(json.loads(counts))
        return total

    def sampled(self) -> int:
        """How many samples were looked at."""
        return sum(stop - start for start, stop in self.batches().items())

    def structures(self) -> list[Structure]:
        """The structures, by number."""
        with self._clear():
            rows = self.connection.execute("SELECT overrides, stages, model FROM structures ORDER BY id")
            return [Structure(tuple(json.loads(o)), stages, json.loads(model)) for o, stages, model in rows]

    def count(self) -> int:
        """How many architectures there are."""
        with self._clear():
            (count,) = self.connection.execute("SELECT COUNT(*) FROM archs").fetchone()
        return int(count)

    def candidates(self, plans: Iterable[str] | None = None) -> Iterator[Candidate]:
        """The architectures in the order of their samples; or those with the given plan ids."""
        with self._clear():
            if plans is None:
                yield from map(
                    Candidate._make, self.connection.execute("SELECT * FROM archs ORDER BY sample")
                )
                return
            for plan in plans:
                rows = self.connection.execute("SELECT * FROM archs WHERE plan = ?", (plan,))
                yield from map(Candidate._make, rows)

    # Measurements ---------------------------------------------------------------------------------

    def lacking(self, metrics: Sequence[str]) -> dict[str, list[str]]:
        """Plan id -> which of the metrics it still lacks, in the order of the samples."""
        with self._clear():
            have: dict[str, set[str]] = {}
            for plan, metric in self.connection.execute("SELECT plan, metric FROM metrics"):
                have.setdefault(plan, set()).add(metric)
            plans = [plan for (plan,) in self.connection.execute("SELECT plan FROM archs ORDER BY sample")]
        wanted = {plan: [m for m in metrics if m not in have.get(plan, ())] for plan in plans}
        return {plan: missing for plan, missing in wanted.items() if missing}

    def begin(self, plan: str) -> int:
        """Note that a measurement begins; how often it has begun, this time included."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO begun VALUES (?, 1) ON CONFLICT (plan) DO UPDATE SET times = times + 1", (plan,)
            )
            (times,) = db.execute("SELECT times FROM begun WHERE plan = ?", (plan,)).fetchone()
        return int(times)

    def take_back(self, plan: str) -> None:
        """Note that a measurement that began was interrupted: as if it had not begun."""
        with self._transaction() as db:
            db.execute("UPDATE begun SET times = times - 1 WHERE plan = ?", (plan,))
            db.execute("DELETE FROM begun WHERE times <= 0")

    def failed(self, plan: str) -> bool:
        """Whether a measurement of this plan failed."""
        states = "state IN ('failed', 'timeout', 'died')"
        with self._clear():
            rows = self.connection.execute(f"SELECT 1 FROM metrics WHERE plan = ? AND {states}", (plan,))  # noqa: S608
            return rows.fetchone() is not None

    def add_measured(self, rows: Sequence[Measured]) -> None:
        """Store the metrics of one architecture, all or none; what is known already stays."""
        with self._transaction() as db:
            db.executemany("INSERT OR IGNORE INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            db.executemany("DELETE FROM begun WHERE plan = ?", {(row.plan,) for row in rows})

    def measured(self) -> Iterator[Measured]:
        """Every metric measured."""
        with self._clear():
            for row in self.connection.execute("SELECT * FROM metrics ORDER BY plan, metric"):
                yield Measured(*row)  # earlier versions stored no environment

    def metrics(self) -> list[str]:
        """The metrics of which there is a measurement."""
        with self._clear():
            rows = self.connection.execute("SELECT DISTINCT metric FROM metrics ORDER BY metric")
            return [metric for (metric,) in rows]

    def forget_failures(self) -> None:
        """Let what failed be tried again."""
        with self._transaction() as db:
            db.execute("DELETE FROM metrics WHERE state IN ('failed', 'timeout', 'died')")


def metrics_in(folder: Path) -> list[str]:
    """The metrics measured so far in a folder; none where no sweep is."""
    if not (folder / FILE).is_file():
        return []
    store = Store(folder, write=False)
    try:
        return store.metrics()
    finally:
        store.close()


def _locked(folder: Path) -> TextIO | None:
    """Hold the folder for this process; the hold goes with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return None
    lock = (folder / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigError([Fault("out", f"another sweep is writing to '{folder}'")]) from None
    return lock
