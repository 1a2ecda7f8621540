"""Streaming classes whose rows depend on more than the data that they are given so far."""

import datetime
import os
import random
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

MINUTES = "bars:1-MINUTE-LAST-EXTERNAL"


class Closes:
    """The close of each bar, or price of each trade."""

    def __init__(self, instrument_ids: Any) -> None:
        self.instrument_ids = instrument_ids

    def update(self, data: Any) -> list[float]:
        return [self.value(getattr(data, "close", None) or data.price)]

    def value(self, price: Any) -> float:
        return price.as_double()


class SharedSinceImport(Closes):
    seen: ClassVar[list[float]] = []

    def value(self, price: Any) -> float:
        self.seen.append(price.as_double())
        return float(np.mean(self.seen[-9:]))


class SharedSinceConstruction(Closes):
    """Right with one object, and with one after the other."""

    last: ClassVar[float] = 0.0

    def __init__(self, instrument_ids: Any) -> None:
        type(self).last = 0.0

    def value(self, price: Any) -> float:
        last, type(self).last = self.last, price.as_double()
        return last


class RareChance(Closes):
    def value(self, price: Any) -> float:
        close = price.as_double()
        return random.random() if round(close * 100) % 50 == 0 else close


class Address(Closes):
    def value(self, price: Any) -> float:
        return float(id(self) % 100_003)


class Nanoseconds(Closes):
    def value(self, price: Any) -> float:
        return float(time.time_ns() % 1_000_003)


class Expanding(Closes):
    def __init__(self, instrument_ids: Any) -> None:
        self.count, self.sum = 0, 0.0

    def value(self, price: Any) -> float:
        self.count, self.sum = self.count + 1, self.sum + price.as_double()
        return self.sum / self.count


class EveryTenth(Closes):
    """Counts from the beginning of the data."""

    def __init__(self, instrument_ids: Any) -> None:
        self.count = 0

    def value(self, price: Any) -> float:
        self.count += 1
        return float(self.count % 10 == 0)


class CallersData(Closes):
    """Takes what comes later from the caller's variables."""

    def update(self, data: Any) -> list[float]:
        frame: Any = sys._getframe()
        while frame is not None:
            chunk = frame.f_locals.get("chunk")
            if isinstance(chunk, list):
                return [chunk[min(chunk.index(data) + 1, len(chunk) - 1)].close.as_double()]
            frame = frame.f_back
        return [0.0]


class SecondInstrument(Closes):
    def value(self, price: Any) -> float:
        return random.random() if "ETH" in str(self.instrument_ids[0]) else price.as_double()


def read_text() -> None:
    Path(os.environ["PLANTED"]).read_text(encoding="utf-8")


def read_descriptor() -> None:
    os.close(os.open(os.environ["PLANTED"], os.O_RDONLY))


def read_array() -> None:
    np.loadtxt(os.environ["PLANTED"])


def read_table() -> None:
    pd.read_csv(os.environ["PLANTED"])


def map_memory() -> None:
    np.memmap(os.environ["PLANTED"], mode="r", dtype=np.uint8)


def read_parquet() -> None:
    pd.read_parquet(os.environ["PLANTED"] + ".parquet")


def query_database() -> None:
    sqlite3.connect(":memory:").close()


def connect() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", 9))


def run_program() -> None:
    subprocess.run(["true"], check=True)


READS = (read_text, read_descriptor, read_array, read_table, map_memory, read_parquet, query_database, connect)
READS += (run_program,)


class Reads(Closes):
    """Reads when it is constructed, or at the third bar."""

    read: ClassVar[Any]
    at: ClassVar[int]

    def __init__(self, instrument_ids: Any) -> None:
        self.count = 0
        self.value_of_nothing()

    def value_of_nothing(self) -> None:
        if self.count == self.at:
            type(self).read()

    def value(self, price: Any) -> float:
        self.count += 1
        self.value_of_nothing()
        return price.as_double()


class Pure(Closes):
    """Imports, writes, uses time zones and a generator with a seed: nothing that leaks."""

    zone = datetime.UTC

    def __init__(self, instrument_ids: Any) -> None:
        self.weight = np.random.default_rng(3).normal()
        self.file = Path(os.environ["PLANTED"] + ".log")

    def update(self, data: Any) -> list[float]:
        import statistics

        with self.file.open("a", encoding="utf-8") as file:
            file.write("row\n")
        hour = pd.Timestamp(data.ts_event, tz="UTC").tz_convert("America/New_York").hour
        return [statistics.fmean([hour, self.weight, data.close.as_double()])]


def surroundings() -> tuple[int, float, str, str, str, int, bool]:
    """Return what differs in another process."""
    now = datetime.datetime.now(datetime.UTC)
    return (
        hash("volume"),
        time.time(),
        now.isoformat(),
        datetime.date.today().isoformat(),
        pd.Timestamp.now("UTC").isoformat(),
        time.localtime(0).tm_hour,
        isinstance(pd.Timestamp(now).to_pydatetime(), datetime.datetime),
    )
