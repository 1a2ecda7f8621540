"""Every state file, damaged in every way, under every command that reads it: a sentence and a status, no traceback."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nautilus_torchserve.release.rollout.journal import FOLDER, Journal, read_journal, recorded_digests, write_journal
from nautilus_torchserve.release.rollout.status import model_status
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.versions import save_snapshot
from nautilus_torchserve.serving.server.properties import read_properties
from nautilus_torchserve.serving.server.snapshot import PROPERTY, read_snapshot
from nautilus_torchserve.serving.server.torchserve import CONFIG, TorchServe
from nautilus_torchserve.traffic.split import Kind, Split
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.wire.digest import archive_digest
from support import PROJECT, script_app

JOURNAL = Journal(("0.8", "0.9", "1.0"), digests={"0.9": "a" * 64})
COMMANDS = {
    "status": ["status", "tick", "--json"],
    "repair": ["repair", "--json"],
    "rollback": ["rollback", "tick"],
    "promote": ["promote", "tick", "0.9"],
    "remove": ["remove", "tick", "1.0"],
    "prune": ["prune", "tick", "--json"],
    "canary": ["canary", "tick", "--to", "0.9"],
}
READ_BY = {
    "journal": ["status", "repair", "rollback", "prune"],
    "lock": ["status", "repair", "rollback", "prune"],
    "snapshot lock": ["repair", "remove"],
    "journals' folder": ["status", "repair", "rollback", "prune"],
    "configuration": ["status", "repair"],
    "database": ["status", "repair", "prune", "canary"],
}
"""State file -> commands that read it."""


class Site:
    """A configuration, a model store and a database of splits for a server that many tests share."""

    def __init__(self, server: TorchServe, folder: Path) -> None:
        self.home, self.store, self.database = folder / "home", folder / "store", folder / "traffic.db"
        self.reports = folder / "reports"
        self.home.mkdir()
        self.store.mkdir()
        for archive in server.model_store.glob("*.mar"):
            shutil.copyfile(archive, self.store / archive.name)
        shutil.copyfile(server.home / CONFIG, self.home / CONFIG)
        self.target = Target(
            server.management_url,
            server.inference_url,
            self.store,
            server.management_token,
            server.token,
            config=self.home / CONFIG,
        )
        save_snapshot(self.target)
        write_journal(self.target, "tick", JOURNAL)
        (self.store / FOLDER / "tick.lock").touch()
        (self.store / FOLDER / "snapshot.lock").touch()
        with TrafficStore(f"sqlite:///{self.database}") as store:
            store.start(Split("exp-1", "tick", Kind.EXPERIMENT, "1.0", "0.9", 0.1))
            store.heartbeat("host-1", "tick", ["1.0"])
        self.files = {
            "journal": self.store / FOLDER / "tick.json",
            "lock": self.store / FOLDER / "tick.lock",
            "snapshot lock": self.store / FOLDER / "snapshot.lock",
            "journals' folder": self.store / FOLDER,
            "configuration": self.home / CONFIG,
            "database": self.database,
        }

    def call(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Return the exit status and the output."""
        options = [
            "--management-url",
            self.target.management_url,
            "--inference-url",
            self.target.inference_url,
            "--model-store",
            str(self.store),
            "--config",
            str(self.home / CONFIG),
        ]
        if arguments[0] in ("status", "repair", "prune", "canary"):
            options += ["--store", f"sqlite:///{self.database}"]
        if arguments[0] not in ("status", "repair", "prune"):
            options += ["--reports", str(self.reports)]
        tokens = {
            "TORCHSERVE_MANAGEMENT_TOKEN": f"{self.target.management_token}",
            "TORCHSERVE_TOKEN": f"{self.target.inference_token}",
        }
        result = CliRunner().invoke(APP, [*arguments, *options], env=tokens)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output


APP = script_app(PROJECT / "scripts/rollout.py")


@pytest.fixture
def site(tick_server: TorchServe, tmp_path: Path) -> Site:
    return Site(tick_server, tmp_path)


def texts(good: bytes) -> dict[str, bytes]:
    """Yield other contents of a file."""
    cuts = sorted({len(good) * part // 5 for part in range(5)} | {1, len(good) - 2})
    return {f"cut at {place}": good[:place] for place in cuts if 0 <= place < len(good)} | {
        "blank": b" \n\n",
        "binary": bytes(range(256)) * 40,
        "zeros": bytes(4096),
        "not UTF-8": good[:20] + b"\xff\xfe" + good[20:],
        "BOM": b"\xef\xbb\xbf" + good,
        "null": b"null",
        "number": b"1e999",
        "long number": b"9" * 5000,
        "list": b"[]",
        "object": b"{}",
        "nested": b"[" * 100_000,
        "nested objects": b'{"defaults":' * 50_000,
        "twice": good + good,
        "long": b'{"x": "' + b"y" * 300_000 + b'"}',
        "surrogate": good.replace(b"1.0", b"\\ud800"),
        "HTML": b"<html>502 Bad Gateway</html>",
        "NaN": good.replace(b'"1.0"', b"NaN"),
    }


def wrong_values(good: bytes) -> dict[str, bytes]:
    """Yield a JSON object with each of its values replaced, without it, and with one more."""
    try:
        plain = json.loads(good)
    except ValueError:
        return {}
    damages = {"extra key": json.dumps({**plain, "other": 1}).encode()}
    for key in plain:
        damages[f"without {key}"] = json.dumps({name: value for name, value in plain.items() if name != key}).encode()
        for value in (None, True, 10**400, "../../x", [[]], ["../x"], {}, {"../x": "../y"}, {"1.0": "\u0000"}):
            damages[f"{key}: {value!r:.20}"] = json.dumps({**plain, key: value}).encode()
    return damages


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
    """Return the name of each damage, and the function that does it."""
    path = site.files[name]
    if path.is_file():
        good = path.read_bytes()
        for what, content in {**texts(good), **wrong_values(good)}.items():
            yield what, lambda content=content: path.write_bytes(content)  # type: ignore[misc]
    for what, put in PLACES.items():
        yield what, lambda put=put: put(path)  # type: ignore[misc]


def put_back(folder: Path) -> None:
    """Restore what was there before the damage."""
    for part in ("home", "store"):
        take_away(folder / part)
        shutil.copytree(folder / "good" / part, folder / part)


def outcome(site: Site, command: str) -> str | None:
    """Return what is wrong with a command's end; None where it ends as it should."""
    try:
        status, output = site.call(COMMANDS[command])
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.300}"
    if status not in (0, 1, 2, 3) or "Traceback" in output or (status and "error:" not in output):
        return f"status {status}: {output:.300}"
    longest = max((len(line) for line in output.splitlines() if line.startswith("error:")), default=0)
    return f"a message of {longest} characters" if longest > 200 + 4 * len(str(site.home)) + 400 else None


def test_journal_is_rebuilt_from_the_server(site: Site) -> None:
    journal = site.files["journal"]
    good = journal.read_bytes()
    for damaged in (b"", good[:-9], b"[" * 100_000, good.replace(b"1.0", b"../x")):
        journal.write_bytes(damaged)

        refused, why = site.call(["rollback", "tick"])
        left = model_status(site.target, "tick").left
        status, _ = site.call(["repair"])

        assert (refused, status) == (1, 0)
        assert f"{journal}: expected the rollout journal of tick, got" in why
        assert "repair rebuilds it" in str(left)
        digest = archive_digest(site.store / "tick.mar")
        assert read_journal(site.target, "tick") == Journal(("1.0",), digests={"1.0": digest})
        assert recorded_digests(site.store) == {("tick", "1.0"): digest}
        assert site.call(["status"])[0] == 0
        kept = {path.read_bytes() for path in journal.parent.glob("tick.json.damaged-*")}
        assert damaged in kept


@pytest.mark.slow
def test_other_things_in_the_place_of_state_files_are_set_aside(site: Site) -> None:
    for name in ("journal", "lock", "snapshot lock"):
        for put in (put_folder, PLACES["symlink loop"], PLACES["named pipe"], PLACES["a device"]):
            take_away(site.files[name])
            put(site.files[name])

            assert site.call(["repair"])[0] == 0
            assert site.call(["status"])[0] == 0
    shutil.rmtree(site.files["journals' folder"])
    site.files["journals' folder"].touch()
    assert site.call(["repair"])[0] == 0
    assert site.call(["status"])[0] == 0


def test_one_models_damage_is_no_other_models(site: Site) -> None:
    other = site.store / FOLDER / "tick-batched.json"
    write_journal(site.target, "tick-batched", Journal(("1.0",), files={"1.0": "tick-batched-1.0.mar"}))
    save_snapshot(site.target)
    other.write_bytes(b"\xff")

    save_snapshot(site.target)

    snapshot = read_properties(site.home / CONFIG)[PROPERTY]
    assert read_snapshot(snapshot)["tick-batched", "1.0"] == "tick-batched-1.0.mar"
    assert "damaged" not in str(model_status(site.target, "tick").left)
    assert model_status(site.target, "tick-batched").left is not None


@pytest.mark.parametrize("name", ["../../../x", "a/b", "..", "a\\b", "%2e%2e", "token", "", " x", "x" * 101])
def test_names_are_checked_at_the_door(site: Site, name: str) -> None:
    """`../../../x` wrote a journal and a lock beside the model store."""
    before = sorted(site.store.parent.rglob("*"))

    for arguments in COMMANDS.values():
        if arguments[0] == "repair":
            continue
        status, output = site.call([arguments[0], name, *arguments[2:]])
        assert (status, "expected a model name" in " ".join(output.split())) == (2, True)
    assert site.call(["rollback", "tick", "--to", "../x"])[0] == 2
    assert sorted(site.store.parent.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", READ_BY)
def test_no_damage_ends_a_command_in_a_traceback(site: Site, tmp_path: Path, name: str) -> None:
    for part in ("home", "store"):
        shutil.copytree(tmp_path / part, tmp_path / "good" / part)
    wrong = []
    for what, damage in damages(site, name):
        for command in READ_BY[name]:
            take_away(site.files[name])
            damage()
            if (found := outcome(site, command)) is not None:
                wrong.append(f"{what}, {command}: {found}")
            put_back(tmp_path)

    assert wrong == []
