"""Damaged copies of valid files: bytes, lines, cells, JSON nodes, archive members, arrays, columns, tables."""

import json
import shutil
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fault_injection.nasty import NASTY_TEXTS, damaged_json

MOST_BYTES = 4_000_000


def damage(path: Path, random: Random) -> None:
    """Damage one file, or one file of a folder, in place."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        if not files or random.random() < 0.05:
            shutil.rmtree(path)
            path.mkdir()
            return
        chosen = random.choice(files)
        if random.random() < 0.15:
            chosen.unlink()
            if random.random() < 0.3:
                chosen.mkdir()
            return
        damage(chosen, random)
        return
    kinds = [_bytes, *_KINDS.get(path.suffix, [_lines, _cell])]
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        try:
            random.choice(kinds)(path, random)
        except (
            OSError,
            ValueError,
            KeyError,
            IndexError,
            BadZipFile,
            sqlite3.Error,
            pa.ArrowException,
            EOFError,
            zlib.error,
            RecursionError,
        ):
            _bytes(path, random)  # damaged already, so that its own kind of damage has nothing to take hold of


def _bytes(path: Path, random: Random) -> None:
    content = path.read_bytes()
    at = random.randrange(len(content) + 1)
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: b"",
        lambda: content[:at],
        lambda: content[at:],
        lambda: content[:at] + random.randbytes(random.choice((1, 8, 200))) + content[at:],
        lambda: content[:at] + bytes([random.randrange(256)]) + content[at + 1 :],
        lambda: content[:at] + b"\0" * 16 + content[at + 16 :],
        lambda: random.randbytes(random.choice((1, 100, 3000))),
        lambda: b"\xef\xbb\xbf" + content,
        lambda: content.decode("utf-8", "replace").encode(random.choice(("utf-16", "utf-32", "utf-16-le"))),
        lambda: content[:at] + "é€".encode("latin-1", "ignore") + content[at:],
        lambda: content.replace(b"\n", random.choice((b"\r\n", b"\r", b"\n\n", b""))),
        lambda: content * 2,
    )
    path.write_bytes(random.choice(changes)()[:MOST_BYTES])


def _lines(path: Path, random: Random) -> None:
    lines = path.read_text("utf-8").split("\n")
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    head, line = lines[0], lines[at]
    changes: tuple[Callable[[], list[str]], ...] = (
        lambda: [*lines[:at], *lines[at + 1 :]],
        lambda: [*lines[:at], line, *lines[at:]],
        lambda: [*lines[:at], "", *lines[at:]],
        lambda: [*lines[:at], head, *lines[at:]],
        lambda: lines[1:],
        lambda: lines[:1],
        lambda: lines[:2],
        lambda: [*lines[:at], line[: len(line) // 2], *lines[at + 1 :]],
        lambda: [*lines[:at], f'"{line}', *lines[at + 1 :]],
        lambda: [*lines[:at], f"{line},{random.choice(NASTY_TEXTS)}", *lines[at + 1 :]],
        lambda: [*lines[:other], line, *lines[other + 1 :]],
        lambda: [row.replace(",", random.choice((";", "\t", "|"))) for row in lines],
        lambda: [f"{row}," for row in lines],
        lambda: [f"{head},{head}", *(f"{row},{row}" for row in lines[1:] if row)],
        lambda: [lines[0], *reversed(lines[1:])],
    )
    path.write_text("\n".join(random.choice(changes)()), "utf-8")


def _cell(path: Path, random: Random) -> None:
    lines = path.read_text("utf-8").split("\n")
    at = random.randrange(len(lines))
    separator = next((mark for mark in ("@", ",", "=", ":", " ") if mark in lines[at]), ",")
    cells = lines[at].split(separator)
    which = random.randrange(len(cells))
    whole_column = random.random() < 0.3
    new = random.choice((random.choice(NASTY_TEXTS), cells[which] * 2, f"-{cells[which]}", f"{cells[which]}000000000"))
    for number in range(len(lines)) if whole_column else [at]:
        row = lines[number].split(separator)
        if len(row) > which:
            row[which] = new
        lines[number] = separator.join(row)
    path.write_text("\n".join(lines), "utf-8")


def _json(path: Path, random: Random) -> None:
    path.write_text(json.dumps(damaged_json(json.loads(path.read_text("utf-8")), random)), "utf-8")


def _jsonl(path: Path, random: Random) -> None:
    lines = path.read_text("utf-8").splitlines()
    at = random.randrange(len(lines))
    lines[at] = json.dumps(damaged_json(json.loads(lines[at]), random))
    path.write_text("\n".join(lines), "utf-8")


def _toml(path: Path, random: Random) -> None:
    lines = path.read_text("utf-8").split("\n")
    at = random.choice([number for number, line in enumerate(lines) if line.strip()])
    key, equals, _ = lines[at].partition(" = ")
    literal = random.choice(
        (
            '""',
            "-1",
            "0",
            "nan",
            "inf",
            "1e300",
            "9" * 19,
            "true",
            "[]",
            "{}",
            '"x"',
            '"9s"',
            "[1]",
            "1979-05-27",
            "'é'",
            "1.5",
            '"mar:none.mar"',
            '"EUR"',
            '"USDT"',
            '"-1"',
            '"1e9"',
            '"nan"',
            "'''a\nb'''",
        )
    )
    lines[at] = random.choice((f"{key}{equals}{literal}", f"{key}_{equals}{literal}", "", f"[{key}]", lines[at] * 2))
    path.write_text("\n".join(lines), "utf-8")


def _zip(path: Path, random: Random) -> None:
    """Delete, change or repeat one member."""
    with ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    plain = [name for name in members if not name.endswith("/")]
    name = random.choice(plain)
    if random.random() < 0.6:  # not one of the many modules, but what is read
        name = random.choice([member for member in plain if not member.endswith(".py")])
    chance = random.random()
    if chance < 0.2:
        del members[name]
    elif chance < 0.25:
        members[random.choice(("../evil.py", "/abs", "é.txt", "MAR-INF/", name.upper()))] = b"x"
    else:
        part = path.with_name(f"part{Path(name).suffix}")
        part.write_bytes(members[name])
        damage(part, random)
        members[name] = part.read_bytes() if part.is_file() else b""
        part.unlink(missing_ok=True)
    with ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)


def _npz(path: Path, random: Random) -> None:
    with np.load(path, allow_pickle=False) as loaded:
        arrays = dict(loaded)
    name = random.choice(sorted(arrays))
    array = arrays[name]
    changes: tuple[Callable[[], Any], ...] = (
        lambda: array[: len(array) // 2] if array.ndim else array,
        lambda: np.zeros(0),
        lambda: array.astype(str),
        lambda: array.reshape(-1),
        lambda: array[np.newaxis],
        lambda: np.full_like(array, np.nan) if array.dtype.kind == "f" else np.zeros_like(array),
        lambda: np.array(["x"] * max(1, array.size)),
        lambda: np.full(array.shape, 2**62, dtype=np.int64),
    )
    if random.random() < 0.2:
        del arrays[name]
    else:
        arrays[name] = random.choice(changes)()
    np.savez(path, **arrays)


def _parquet(path: Path, random: Random) -> None:
    table = pq.read_table(path)
    name = random.choice(table.column_names)
    at = table.column_names.index(name)
    changes: tuple[Callable[[], pa.Table], ...] = (
        lambda: table.drop([name]),
        lambda: table.slice(0, 0),
        lambda: table.rename_columns([f"{column}_" if column == name else column for column in table.column_names]),
        lambda: table.set_column(at, name, pa.array(["x"] * len(table))),
        lambda: table.set_column(at, name, pa.nulls(len(table), table.schema.field(name).type)),
        lambda: table.set_column(at, name, pa.array([-1] * len(table))),
        lambda: table.replace_schema_metadata({}),
        lambda: table.take(pa.array(list(reversed(range(len(table)))), type=pa.int64())),
        lambda: pa.concat_tables([table, table]),
    )
    pq.write_table(random.choice(changes)(), path)


def _sqlite(path: Path, random: Random) -> None:
    database = sqlite3.connect(path)
    tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
    table = random.choice(tables)
    columns = [row[1] for row in database.execute(f'pragma table_info("{table}")')]
    chance = random.random()
    if chance < 0.15:
        database.execute(f'drop table "{table}"')
    elif chance < 0.3:
        database.execute(f'delete from "{table}"')
    elif chance < 0.4:
        database.execute(f'alter table "{table}" rename column "{random.choice(columns)}" to other')
    else:
        for table in random.sample(tables, min(3, len(tables))):
            columns = [row[1] for row in database.execute(f'pragma table_info("{table}")')]
            value = random.choice((None, "", "x", -1, 10**18, 1.5, b"\0", "{}", "[]", "NaN"))
            database.execute(f'update or ignore "{table}" set "{random.choice(columns)}" = ?', (value,))
    database.commit()
    database.close()


_KINDS: dict[str, list[Callable[[Path, Random], None]]] = {
    ".csv": [_lines, _cell, _cell],
    ".json": [_json, _json, _json, _cell],
    ".jsonl": [_jsonl, _jsonl, _lines],
    ".toml": [_toml, _toml, _toml],
    ".mar": [_zip, _zip, _zip],
    ".npz": [_npz, _npz],
    ".parquet": [_parquet, _parquet],
    ".db": [_sqlite, _sqlite],
    ".properties": [_lines, _cell, _toml],
}


def odd_path(folder: Path, random: Random) -> Path:
    """Return a path at which there is no ordinary file."""
    loop, folder_there = folder / "loop.csv", folder / "a folder.mar"
    if not loop.is_symlink():
        loop.symlink_to(loop)
    folder_there.mkdir(exist_ok=True)
    (folder / "empty.csv").touch()
    return random.choice(
        (
            folder / "missing.csv",
            folder_there,
            loop,
            folder / "empty.csv" / "inside.csv",
            folder / ("n" * 300),
            Path("/dev/null"),
            folder / "empty.csv",
            Path("-"),
            Path("/proc/self/mem"),
            folder / "[/b] é 中.csv",
        )
    )
