"""The tables of a sweep's store."""

from __future__ import annotations

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
