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
    plan TEXT NOT NULL UNIQUE, sample INTEGER PRIMARY KEY, structure INTEGER NOT NULL, numbers TEXT NOT NULL,
    changes TEXT NOT NULL, params INTEGER NOT NULL, macs INTEGER NOT NULL, activations INTEGER NOT NULL,
    further TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS metrics (
    plan TEXT NOT NULL, metric TEXT NOT NULL, state TEXT NOT NULL, value REAL, low REAL, high REAL,
    note TEXT NOT NULL, environment TEXT NOT NULL DEFAULT '', PRIMARY KEY (plan, metric)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (
    plan TEXT NOT NULL, metrics TEXT NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (plan, metrics)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS begun (plan TEXT PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID;
"""
"""Architectures are stored in the order of their samples, so that a batch is appended.

Earlier versions stored them in the order of plan ids, with an index of samples. Both kinds of table have the
same columns in the same order and one row for each plan, and the same statements read and continue both,
those of earlier versions included: the format of the file is the same.
"""
WRITING = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA wal_autocheckpoint = 4000;
"""
"""Settings for writing: a long log, as every batch changes the same pages of the index of plans."""


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
