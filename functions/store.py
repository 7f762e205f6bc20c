"""Every reading goes into a SQLite file, once: the time of a reading is its key, so a second run changes nothing."""

import os
import sqlite3
from dataclasses import dataclass
from functools import cache


@dataclass
class Reading:
    station: str
    celsius: float
    at: str


@cache
def database() -> sqlite3.Connection:
    """Opened once a worker process; where is the reader's choice, by READINGS_DB."""
    connection = sqlite3.connect(os.environ.get("READINGS_DB", "readings.sqlite"), isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS reading (station TEXT, at TEXT, celsius REAL, PRIMARY KEY (station, at))"
    )
    return connection


def save(reading: Reading) -> None:
    """Data that is no Reading never gets here: it is a dead letter, `invalid_data`, without retries."""
    database().execute(
        "INSERT OR REPLACE INTO reading VALUES (?, ?, ?)", (reading.station, reading.at, reading.celsius)
    )
