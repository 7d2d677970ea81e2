"""The presets, as one value beside the tables: few, small, and carried over as a whole."""

import sqlite3

_KEY = "presets"


def load_presets(connection: sqlite3.Connection) -> str:
    """The controllers' JSON; "" = none were ever saved."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchone()
    return row[0] if row else ""


def save_presets(connection: sqlite3.Connection, presets: str) -> None:
    """Keeps them all."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_KEY, presets))
