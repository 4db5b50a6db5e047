"""The tables of a sweep's store, and the state of its file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

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
CREATE TABLE IF NOT EXISTS spent (
    plan TEXT NOT NULL, metrics TEXT NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (plan, metrics)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS begun (plan TEXT PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID;
"""
ADD_CANDIDATE = """INSERT OR IGNORE INTO archs VALUES (
    :plan, :sample, :structure, :numbers, :changes, :params, :macs, :activations, :further
)"""


def integrity_text(file: Path) -> str:
    """Return the result of SQLite's integrity check as text; empty where the file cannot be opened."""
    if not file.is_file():
        return ""
    address = f"{file.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as db:
            (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.OperationalError:
        return ""
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found == "ok":
        return "; results stored before are intact"
    reason = " ".join(found.replace("*** in database main ***", "").split())
    return f"; the file is damaged ({reason}): take it from a copy, or start again with another out=…"
