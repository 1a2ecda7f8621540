"""Damaged archives: every reader refuses them in one sentence, or reads them correctly."""

import io
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nautilus_torchserve.inference.model_files import parse_description
from nautilus_torchserve.registry.record import archive_tags
from nautilus_torchserve.registry.registry import verified_copy
from nautilus_torchserve.release.rollout.gates import read_archived_golden
from nautilus_torchserve.release.rollout.rollout import _serving_options
from nautilus_torchserve.serving.client.archive_file import archive_digest, check_handler, open_archive
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.signing.archive_signature import read_digest, verify_archive
from nautilus_torchserve.user_error import UserError

Damage = Callable[[Path, Path], None]
"""Makes a damaged copy of an archive."""


def rewritten(change: Callable[[dict[str, bytes]], None]) -> Damage:
    """Damage members of an intact zip file."""

    def damage(archive: Path, to: Path) -> None:
        with ZipFile(archive) as old:
            members = {name: old.read(name) for name in old.namelist()}
        change(members)
        with ZipFile(to, "w") as new:
            for name, data in members.items():
                new.writestr(name, data)

    return damage


def with_member(name: str, content: bytes) -> Damage:
    return rewritten(lambda members: members.update({name: content}))


@st.composite
def bytes_flipped(draw: st.DrawFn) -> Damage:
    places = draw(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=4))
    near_end = draw(st.booleans())

    def damage(archive: Path, to: Path) -> None:
        data = bytearray(archive.read_bytes())
        for share, mask in places:
            place = int(share * (min(len(data), 3000) if near_end else len(data)))
            data[-1 - min(place, len(data) - 1)] ^= mask
        to.write_bytes(data)

    return damage


@st.composite
def cut_off(draw: st.DrawFn) -> Damage:
    share = draw(st.floats(0, 1))
    return lambda archive, to: to.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size)]) and None


DATA = ("model.json", "golden.npz", "weights.safetensors", "MAR-INF/MANIFEST.json", "model-config.yaml")
CODE = (
    "tick_handler.py",
    "nautilus_torchserve/wire/body.py",
    "model_defs/tick_classifier.py",
    "nautilus_torchserve/inference/tiles.py",
)


@st.composite
def member_gone(draw: st.DrawFn) -> Damage:
    name = draw(st.sampled_from(DATA + CODE))
    return rewritten(lambda members: members.pop(name) and None)


@st.composite
def member_replaced(draw: st.DrawFn) -> Damage:
    name = draw(st.sampled_from(DATA))
    shapes = [b"", b"{}", b"[]", b"null", b'{"model": {}}', b"\x00" * 99]
    content = draw(st.binary(max_size=64) | st.sampled_from(shapes))
    return with_member(name, content)


@st.composite
def member_cut_off(draw: st.DrawFn) -> Damage:
    name, share = draw(st.sampled_from(DATA + CODE)), draw(st.floats(0, 1))
    return rewritten(lambda members: members.update({name: members[name][: int(share * len(members[name]))]}))


@st.composite
def json_changed(draw: st.DrawFn) -> Damage:
    """Delete a key or replace its value somewhere in the description or the manifest."""
    name = draw(st.sampled_from(["model.json", "MAR-INF/MANIFEST.json"]))
    steps = draw(st.lists(st.integers(0, 40), min_size=1, max_size=3))
    value = draw(st.sampled_from([None, 0, -1, 2.5, True, "", "x", "../x", [], {}, 10**30, "remove"]))

    def change(members: dict[str, bytes]) -> None:
        whole: Any = json.loads(members[name])
        at, key = whole, list(whole)[steps[0] % len(whole)]
        for step in steps[1:]:
            if isinstance(at[key], dict) and at[key]:
                at = at[key]
                key = list(at)[step % len(at)]
        at.pop(key) if value == "remove" else at.update({key: value})
        members[name] = json.dumps(whole).encode()

    return rewritten(change)


@st.composite
def golden_changed(draw: st.DrawFn) -> Damage:
    name = draw(st.sampled_from(["rows", "tolerance", "output.buy"]))
    others = [None, np.zeros(3), np.zeros((2, 5), np.float32), np.array("x"), np.full((64, 4), np.nan)]
    value = draw(st.sampled_from(others))

    def change(members: dict[str, bytes]) -> None:
        with np.load(io.BytesIO(members["golden.npz"])) as stored:
            values = {array: stored[array] for array in stored.files if array != name}
        out = io.BytesIO()
        np.savez(out, **values, **({} if value is None else {name: value}))
        members["golden.npz"] = out.getvalue()

    return rewritten(change)


READERS: dict[str, Callable[[Path], object]] = {
    "rollout's golden": read_archived_golden,
    "rollout's settings": lambda path: _serving_options(None, path),
    "digest": archive_digest,
    "server": check_handler,
    "verify": lambda path: verify_archive(path, path.parent),
    "sign": read_digest,
    "registry": lambda path: _register(path),
    "in process": lambda path: connect(f"mar:{path}", "tick").close(),
}


def _register(path: Path) -> None:
    with verified_copy(path, path.parent, allow_unsigned=True) as copy, open_archive(copy.path) as members:
        archive_tags(parse_description(members.read("model.json"), str(path)))


def refusal(read: Callable[[Path], object], path: Path) -> str:
    try:
        read(path)
    except UserError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.one_of(
        bytes_flipped(), cut_off(), member_gone(), member_replaced(), member_cut_off(), json_changed(), golden_changed()
    )
)
def test_a_damaged_archive_is_refused_in_one_sentence_or_read(tick_archive: Path, folder: Path, damage: Damage) -> None:
    path = folder / "tick.mar"
    damage(tick_archive, path)

    for reader, read in READERS.items():
        assert "\n" not in refusal(read, path), reader


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rewritten(lambda members: members.pop("golden.npz") and None), "expected golden.npz in .*, got none"),
        (with_member("model.json", b"{"), "model.json: expected a JSON object, got Expecting"),
        (with_member("weights.safetensors", b""), "expected the network's weights"),
        (with_member("tick_handler.py", b"x ="), r"SyntaxError: .*\(tick_handler\.py:1\)"),
        (
            with_member("nautilus_torchserve/wire/body.py", b"import gone\n"),
            r"No module named 'gone' \(nautilus_torchserve/wire/body\.py:1\)",
        ),
        (with_member("MAR-INF/MANIFEST.json", b"[]"), r"model\.modelName as a text in MAR"),
        (lambda archive, to: shutil.copy(Path(__file__), to) and None, "expected a model archive, got BadZipFile"),
    ],
)
def test_what_is_wrong_is_named(tick_archive: Path, tmp_path: Path, damage: Damage, message: str) -> None:
    path = tmp_path / "tick.mar"
    damage(tick_archive, path)

    with pytest.raises(UserError, match=f"{path}: .*{message}"):
        connect(f"mar:{path}", "tick")
    with suppress(UserError):
        read_archived_golden(path)
