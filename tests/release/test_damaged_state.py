"""Every state file, damaged in every way, under every command that reads it: a sentence and a status, no traceback."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path


import pytest
from typer.testing import CliRunner

from release.journal import FOLDER, Journal, read_journal, read_journal_in, write_journal
from release.repair import repair
from release.status import model_status
from release.target import own_target
from serving.properties import read_properties
from serving.snapshot import PROPERTY
from serving.torchserve import CONFIG, STATE, TorchServe
from serving.tokens import KEY_FILE
from support import PROJECT, script_app
from traffic.split import Kind, Split
from traffic.store import TrafficStore

JOURNAL = Journal(("0.8", "0.9", "1.0"), digests={"0.9": "a" * 64})
COMMANDS: dict[str, list[str]] = {
    "status": ["status"],
    "status of one": ["status", "tick", "--json"],
    "repair": ["repair", "--json"],
    "rollback": ["rollback", "tick"],
    "promote": ["promote", "tick", "0.9"],
    "remove": ["remove", "tick", "1.0"],
    "prune": ["prune", "--json"],
    "canary": ["canary", "tick", "--to", "0.9"],
}


class Site:
    """A home, a model store and a database of splits of their own, for a server that many tests share."""

    def __init__(self, server: TorchServe, folder: Path) -> None:
        self.home, self.store, self.database = folder / "home", folder / "store", folder / "traffic.db"
        self.reports = folder / "reports"
        self.home.mkdir()
        self.store.mkdir()
        for archive in server.model_store.glob("*.mar"):
            shutil.copyfile(archive, self.store / archive.name)
        for name in (STATE, KEY_FILE, CONFIG):
            text = (server.home / name).read_text()
            (self.home / name).write_text(text.replace(str(server.model_store), str(self.store)))
        self.target = own_target(self.home)
        (self.store / FOLDER).mkdir()
        write_journal(self.target, "tick", JOURNAL)
        (self.store / FOLDER / "tick.lock").touch()
        (self.store / FOLDER / "snapshot.lock").touch()
        with TrafficStore(f"sqlite:///{self.database}") as store:
            store.start(Split("exp-1", "tick", Kind.EXPERIMENT, "1.0", "0.9", 0.1))
            store.say_alive("host-1", "tick", ["1.0"])
        self.files = {
            "journal": self.store / FOLDER / "tick.json",
            "lock": self.store / FOLDER / "tick.lock",
            "snapshot lock": self.store / FOLDER / "snapshot.lock",
            "journals' folder": self.store / FOLDER,
            "key file": self.home / KEY_FILE,
            "configuration": self.home / CONFIG,
            "server's state": self.home / STATE,
            "database": self.database,
        }

    def call(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Exit status and what was said."""
        options = ["--home", str(self.home)]
        if arguments[0] in ("status", "repair", "prune", "canary"):
            options += ["--store", f"sqlite:///{self.database}"]
        if arguments[0] not in ("status", "repair", "prune"):
            options += ["--reports", str(self.reports)]
        result = CliRunner().invoke(APP, [*arguments, *options])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output


APP = script_app(PROJECT / "scripts/rollout.py")


@pytest.fixture
def site(tick_server: TorchServe, tmp_path: Path) -> Site:
    return Site(tick_server, tmp_path)


def texts(good: bytes) -> dict[str, bytes]:
    """What a file may hold instead."""
    cuts = sorted({len(good) * part // 7 for part in range(7)} | {1, len(good) - 2, len(good) - 1})
    found = {f"cut at {place}": good[:place] for place in cuts if 0 <= place < len(good)}
    found |= {
        "blank": b" \n\n", "binary": bytes(range(256)) * 40, "zeros": bytes(4096), "not UTF-8": good[:20] + b"\xff\xfe" + good[20:],
        "BOM": b"\xef\xbb\xbf" + good, "UTF-16": b"\xff\xfe" + good.decode("latin-1").encode("utf-16-le"), "null": b"null", "number": b"1e999", "long number": b"9" * 5000,
        "text": b'"x"', "list": b"[]", "object": b"{}", "nested": b"[" * 100_000, "nested objects": b'{"defaults":' * 50_000,
        "twice": good + good, "long": b'{"x": "' + b"y" * 300_000 + b'"}', "surrogate": good.replace(b"1.0", b"\\ud800"),
        "HTML": b"<html>502 Bad Gateway</html>", "NaN": good.replace(b'"1.0"', b"NaN"),
    }
    return found


def wrong_values(good: bytes) -> dict[str, bytes]:
    """A JSON object with each of its values replaced, left out, and with one more."""
    try:
        plain = json.loads(good)
    except ValueError:
        return {}
    found = {"extra key": json.dumps({**plain, "other": 1}).encode()}
    for key in plain:
        found[f"without {key}"] = json.dumps({name: value for name, value in plain.items() if name != key}).encode()
        for value in (None, True, -1, 10**400, 1.5, "", "../../x", "\u0000", [], [[]], [1], ["../x"], {}, {"a": 1}, {"../x": "../y"}):
            found[f"{key}: {value!r:.20}"] = json.dumps({**plain, key: value}).encode()
    return found


def put_folder(path: Path) -> None:
    path.mkdir()
    (path / "x").touch()


PLACES: dict[str, Callable[[Path], None]] = {
    "folder": put_folder,
    "symlink loop": lambda path: path.symlink_to(path),
    "dangling symlink": lambda path: path.symlink_to(path.parent / "nowhere" / "x"),
    "named pipe": os.mkfifo,
    "gone": lambda path: None,
    "a file": lambda path: path.touch(),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


def take_away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def damages(site: Site, name: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Each damage's name, and what does it."""
    path = site.files[name]
    if path.is_file():
        good = path.read_bytes()
        for what, content in {**texts(good), **wrong_values(good)}.items():
            yield what, lambda content=content: path.write_bytes(content)  # type: ignore[misc]
    for what, put in PLACES.items():
        yield what, lambda put=put: put(path)  # type: ignore[misc]


@contextmanager
def restored(folder: Path, *folders: str) -> Iterator[None]:
    """Have these folders again afterwards as they were."""
    yield
    for name in folders:
        take_away(folder / name)
        shutil.copytree(folder / "good" / name, folder / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["journal", "lock", "snapshot lock", "journals' folder", "key file", "configuration", "server's state"])
def test_no_damage_ends_a_command_in_a_traceback(site: Site, tmp_path: Path, name: str) -> None:
    good = tmp_path / "good"
    for part in ("home", "store"):
        shutil.copytree(tmp_path / part, good / part)
    wrong = []
    for what, damage in damages(site, name):
        for command, arguments in COMMANDS.items():
            with restored(tmp_path, "home", "store"):
                take_away(site.files[name])
                damage()
                try:
                    status, said = site.call(arguments)
                except BaseException as error:  # noqa: BLE001
                    wrong.append(f"{what}, {command}: {error!r:.300}")
                else:
                    if status not in (0, 1, 2, 3) or "Traceback" in said or len(said) > 6000:
                        wrong.append(f"{what}, {command}: {status}: {said:.300}")

    assert wrong == []
