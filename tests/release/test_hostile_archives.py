"""Hostile archives: each reader refuses them in one sentence, with little memory and time."""

import io
import json
import re
import resource
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
import pytest
from forged_zip import Entry, deflate, entries_of, forge
from signed_archives import keys
from test_damaged_archives import READERS, refusal
from tick_versions import made

from nautilus_torchserve.serving.client import archive_import
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.signing.archive_signature import Untrusted, sign_archive
from nautilus_torchserve.user_error import InvalidArgument, UserError
from nautilus_torchserve.wire.digest import MANIFEST
from support import PROJECT, run_script

Hostile = Callable[[Path, Path], object]
"""Makes a hostile copy of an archive."""
READS = {name: read for name, read in READERS.items() if name not in ("registry",)}


def adding(name: str, content: bytes = b"", kind: int = stat.S_IFREG, compression: int = ZIP_DEFLATED) -> Hostile:
    def make(archive: Path, to: Path) -> None:
        to.write_bytes(archive.read_bytes())
        with ZipFile(to, "a") as members:
            info = ZipInfo(name)
            info.external_attr = (kind | 0o644) << 16
            info.compress_type = compression
            members.writestr(info, content)

    return make


def replacing(name: str, content: bytes, **manifest: object) -> Hostile:
    def make(archive: Path, to: Path) -> None:
        with ZipFile(archive) as old, ZipFile(to, "w", ZIP_DEFLATED) as new:
            for member in old.namelist():
                data = content if member == name else old.read(member)
                if member == MANIFEST and manifest:
                    document = json.loads(data)
                    data = json.dumps({**document, "model": {**document["model"], **manifest}}).encode()
                new.writestr(member, data)
            if name not in old.namelist():
                new.writestr(name, content)

    return make


def forging(*entries: Entry) -> Hostile:
    return lambda archive, to: forge(to, [*entries_of(archive), *entries])


def golden(**values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **values)
    return out.getvalue()


def npy(shape: str, kind: str = "<f4") -> bytes:
    """An array whose header promises more than there is."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    out = io.BytesIO()
    with ZipFile(out, "w") as members:
        for name in ("rows.npy", "tolerance.npy", "output.buy.npy"):
            members.writestr(name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    return out.getvalue()


def tensors(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


YAML_BOMB = (
    b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (n + 1, n + 1, *([n] * 9)) for n in range(97, 107))
    + b"batchSize: *k\n"
)
CONFIG, WEIGHTS, HANDLER = "model-config.yaml", "weights.safetensors", "tick_handler.py"
HOSTILE: dict[str, tuple[Hostile, set[str]]] = {
    "leaves the folder": (adding("../evil.py", b"x"), {*READS}),
    "absolute": (adding("/tmp/evil.py", b"x"), {*READS}),
    "backslashes": (adding("..\\evil.py", b"x"), {*READS}),
    "link": (adding("link.py", b"/etc/passwd", stat.S_IFLNK), {*READS}),
    "device": (adding("null", b"", stat.S_IFCHR), {*READS}),
    "member twice": (forging(Entry(HANDLER, b"print('evil')")), {*READS}),
    "file and folder": (adding(f"{HANDLER}/x.py", b""), {"verify", "sign", "in process"}),
    "line break": (adding("a\nb.py", b""), {"verify", "sign", "in process", "digest"}),
    "bomb that says so": (forging(*(Entry(name, b"", deflate(b""), True, size=3 << 30) for name in "ab")), {*READS}),
    "bomb of a thousand": (
        forging(Entry("zeros", b"", deflate(bytes(300 << 20)), True, size=300 << 20)),
        {*READS} - {"verify", "sign"},
    ),
    "bomb that lies": (
        forging(Entry("zeros", b"", deflate(bytes(300 << 20)), True, size=10)),
        {"verify", "sign", "server", "in process", "digest", "rollout's settings"},
    ),
    "manifest of 20 MB": (replacing(MANIFEST, b" " * (20 << 20)), {*READS}),
    "manifest, deep": (replacing(MANIFEST, b"[" * 100_000), {"verify", "sign", "server", "in process"}),
    "manifest, version of an object": (replacing("x", b"", modelVersion={"a": 1}), {"verify", "server", "in process"}),
    "manifest, handler of a list": (replacing("x", b"", handler=["x"]), {"server", "in process"}),
    "manifest, handler elsewhere": (replacing("x", b"", handler="../../../etc/passwd:x"), {"in process"}),
    "manifest, configuration of a list": (replacing("x", b"", configFile=["x"]), {"rollout's settings"}),
    "manifest, configuration elsewhere": (replacing("x", b"", configFile="../../etc/passwd"), {"rollout's settings"}),
    "handler, deep": (replacing(HANDLER, b"x = " + b"-" * 200_000 + b"1"), {"in process"}),
    "handler, brackets": (replacing(HANDLER, b"x = " + b"(" * 200_000), {"in process"}),
    "handler of 2 MB": (replacing(HANDLER, b"#" * (2 << 20)), {"server", "in process"}),
    "YAML of references": (replacing(CONFIG, YAML_BOMB), {"rollout's settings"}),
    "YAML, deep": (replacing(CONFIG, b"[" * 10_000), {"rollout's settings"}),
    "YAML with code": (replacing(CONFIG, b"batchSize: !!python/object/apply:os.getpid []"), {"rollout's settings"}),
    "YAML, long number": (replacing(CONFIG, b"batchSize: " + b"9" * 10_000), {"rollout's settings"}),
    "YAML of 2 MB": (replacing(CONFIG, b"#" * (2 << 20)), {"rollout's settings"}),
    "description, deep": (replacing("model.json", b'{"a":' * 100_000), {"in process"}),
    "golden, pickle": (
        replacing("golden.npz", golden(rows=np.array([{}], dtype=object))),
        {"rollout's golden", "in process"},
    ),
    "golden, shape": (replacing("golden.npz", npy("(999999999999, 4)")), {"rollout's golden", "in process"}),
    "golden, negative shape": (replacing("golden.npz", npy("(-1, 4)")), {"rollout's golden", "in process"}),
    "golden, long texts": (replacing("golden.npz", npy("(9,)", "<U999999999")), {"rollout's golden", "in process"}),
    "golden, bomb": (
        replacing("golden.npz", golden(rows=np.zeros((1 << 24, 8), np.float32))),
        {"rollout's golden", "in process"},
    ),
    "weights, header length": (replacing(WEIGHTS, tensors(b"{}", 1 << 63)), {"in process"}),
    "weights, offsets": (
        replacing(WEIGHTS, tensors(b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}')),
        {"in process"},
    ),
    "weights, shape": (
        replacing(WEIGHTS, tensors(b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}')),
        {"in process"},
    ),
    "weights, deep": (replacing(WEIGHTS, tensors(b'{"a":' * 50_000)), {"in process"}),
    "weights, pickle": (replacing(WEIGHTS, b"\x80\x04cos\nsystem\n(S'id'\ntR."), {"in process"}),
}
"""Name -> a function that makes it, and the readers that must refuse it; others may read what they need of it."""


@pytest.fixture(scope="module")
def honest(tick_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tick_archive, tmp_path_factory.mktemp("honest") / "tick.mar", "1.0", None)


@pytest.mark.parametrize(("make", "refused"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_in_a_sentence(honest: Path, tmp_path: Path, make: Hostile, refused: set) -> None:
    path = tmp_path / "store" / "tick.mar"
    path.parent.mkdir()
    make(honest, path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    refusals = {name: refusal(read, path) for name, read in READS.items()}

    assert {name for name in refused if not refusals[name]} == set()
    assert all("\n" not in text and len(text) < 900 for text in refusals.values())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10  # KiB
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


def test_what_no_trusted_key_has_signed_is_not_run_in_process(
    honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    private, trusted = keys(tmp_path)
    monkeypatch.setattr(archive_import, "TRUSTED", trusted)
    evil = made(honest, tmp_path / "tick.mar", "1.0", None, f"\nopen({str(tmp_path / 'ran')!r}, 'w')\n")
    with suppress(UserError):
        connect(f"mar:{evil}", "tick").close()
    assert (tmp_path / "ran").exists()  # so it would
    (tmp_path / "ran").unlink()
    warning = "expected a signed archive, got an unsigned one: its code runs in this process all the same"
    assert [record.getMessage() for record in caplog.records] == [f"{evil}: {warning}; --require-signature refuses it"]
    refused = run_script(
        *(PROJECT / "scripts/explain.py", "tick", "1", "0", "0", "0", "--url", f"mar:{evil}", "--require-signature")
    )
    assert refused.returncode == 1
    assert re.fullmatch(r"error: .*/tick\.mar: .*\n", refused.stderr)

    with pytest.raises(Untrusted, match="unsigned"):
        connect(f"mar:{evil}?trusted={trusted}", "tick")
    monkeypatch.setenv("ARCHIVE_TRUSTED_KEYS", str(trusted))
    with pytest.raises(Untrusted, match="unsigned"):
        connect(f"mar:{evil}", "tick")
    with pytest.raises(InvalidArgument, match="expected a folder of keys after"):
        connect(f"mar:{evil}?trusted=", "tick")
    with pytest.raises(Untrusted, match="expected a folder of public keys"):
        connect(f"mar:{evil}?trusted={tmp_path / 'none'}", "tick")
    assert not (tmp_path / "ran").exists()
    sign_archive(honest, private)
    with connect(f"mar:{honest}", "tick") as client:
        assert client.metadata.version == "1.0"
    monkeypatch.delenv("ARCHIVE_TRUSTED_KEYS")
    caplog.clear()
    connect(f"mar:{honest}", "tick").close()
    assert not caplog.records  # a trusted key has signed it
    monkeypatch.setenv("ARCHIVE_TRUSTED_KEYS", str(trusted))
    other = made(honest, tmp_path / "broken.mar", "1.0", private, "x = (", without=("golden.npz",))
    with pytest.raises(UserError, match=rf"^{other}: "):
        connect(f"mar:{other}", "tick")
