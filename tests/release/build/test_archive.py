"""Archives: complete, the same digest for the same content, refused when broken."""

import json
import shutil
import struct
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from nautilus_torchserve.inference.model_files import BadArchive
from nautilus_torchserve.release.build.archive import BuildFailed, build_archive
from nautilus_torchserve.serving.client.archive_file import UnreadableArchive, read_manifest
from nautilus_torchserve.serving.client.client import connect
from support import call_script


def rewrite(archive: Path, to: Path, changed: dict[str, bytes]) -> Path:
    """Write a copy of an archive with other members."""
    with ZipFile(archive) as old, ZipFile(to, "w") as new:
        for name in old.namelist():
            new.writestr(name, changed.get(name, old.read(name)))
        for name in changed.keys() - set(old.namelist()):
            new.writestr(name, changed[name])
    return to


def test_same_inputs_same_digest(tick_run: Path, tmp_path: Path) -> None:
    first = build_archive("tick", tick_run, "1.0", tmp_path / "a")
    again = build_archive("tick", tick_run, "1.0", tmp_path / "b")
    other = build_archive("tick", tick_run, "1.1", tmp_path / "c")

    assert first.digest == again.digest
    assert first.digest != other.digest


def test_the_digest_equals_that_of_the_loaded_archive(tick_run: Path, tmp_path: Path) -> None:
    built = build_archive("tick", tick_run, "1.0", tmp_path)

    with connect(f"mar:{built.path}", "tick") as client:
        assert client.metadata.archive_digest == built.digest


def test_archive_holds_what_it_needs_and_no_more(tick_archive: Path) -> None:
    with ZipFile(tick_archive) as archive:
        names = set(archive.namelist())

    assert {"tick_handler.py", "weights.safetensors", "model.json", "golden.npz", "model-config.yaml"} <= names
    assert {
        "nautilus_torchserve/features/schema.py",
        "nautilus_torchserve/wire/body.py",
        "model_defs/tick_classifier.py",
        "nautilus_torchserve/inference/tiles.py",
    } <= names
    assert not [name for name in names if name.split("/")[0] in ("strategies", "training", "serving", "release")]
    assert not [name for name in names if name.endswith((".pt", ".pkl", ".pyc"))]


def test_an_archive_from_before_there_were_texts_gets_rows(
    tick_archive: Path, tmp_path: Path, rows: np.ndarray
) -> None:
    with ZipFile(tick_archive) as archive:
        model = archive.read("nautilus_torchserve/inference/model.py").decode()
    line = '            "inputs": self.inputs,\n'
    assert line in model
    older = rewrite(
        tick_archive,
        tmp_path / "tick.mar",
        {"nautilus_torchserve/inference/model.py": model.replace(line, "").encode()},
    )

    with connect(f"mar:{older}", "tick") as client, connect(f"mar:{tick_archive}", "tick") as today:
        assert client.metadata.inputs == "rows"
        np.testing.assert_array_equal(client.predict(rows).outputs["buy"], today.predict(rows).outputs["buy"])


def test_two_versions_with_other_code_do_not_mix(tick_archive: Path, tmp_path: Path, rows: np.ndarray) -> None:
    """The second version reverses the outputs, in a module imported only when it is called."""
    with ZipFile(tick_archive) as archive:
        model = archive.read("nautilus_torchserve/inference/models/tick.py").decode()
        manifest = archive.read("MAR-INF/MANIFEST.json").decode()
    turned = model.replace(
        "return network(rows).softmax(dim=1)",
        "import wire.turn\n        from wire.turn import turn\n        assert wire.turn.turn is turn\n"
        "        return turn(network(rows).softmax(dim=1))",
    ).replace("output_names = explained = CLASSES", 'output_names = explained = ("hold", "sell", "buy")')
    changed = {
        "nautilus_torchserve/inference/models/tick.py": turned.encode(),
        "wire/turn.py": b"def turn(table):\n    return table.flip(1)\n",
        "MAR-INF/MANIFEST.json": manifest.replace('"1.0"', '"2.0"').encode(),
    }
    second = rewrite(tick_archive, tmp_path / "tick.mar", changed)

    with connect(f"mar:{tick_archive}", "tick") as one, connect(f"mar:{second}", "tick") as two:
        before, after = one.predict(rows), two.predict(rows)
        assert list(before.outputs) == ["buy", "sell", "hold"]
        assert list(after.outputs) == ["hold", "sell", "buy"]
        for name, values in before.outputs.items():
            assert values.tobytes() == after.outputs[name].tobytes()
        assert (before.version, after.version) == ("1.0", "2.0")
        assert before.digest != after.digest
    with pytest.raises(ModuleNotFoundError):
        __import__("wire.turn")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not a zip"), (b"PK\x03\x04 cut off", "not a zip"), (None, "no file")],
)
def test_what_is_no_archive_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "tick.mar"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UnreadableArchive, match=message) as caught:
        connect(f"mar:{path}", "tick")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
def test_flipped_byte_is_found(tick_archive: Path, tmp_path: Path, share: float) -> None:
    """In the content of a member; what lies between members (times, attributes) means nothing."""
    data = bytearray(tick_archive.read_bytes())
    with ZipFile(tick_archive) as archive:
        members = [member for member in archive.infolist() if member.compress_size]
    member = members[int(len(members) * share)]
    header = member.header_offset
    name_length, extra_length = struct.unpack_from("<HH", data, header + 26)  # of the local header, 30 bytes
    data[header + 30 + name_length + extra_length + member.compress_size // 2] ^= 0xFF
    path = tmp_path / "tick.mar"
    path.write_bytes(data)

    with pytest.raises(UnreadableArchive, match=r"tick\.mar"):
        read_manifest(path)


def test_other_weights_than_trained_do_not_pass_the_golden_rows(tick_run: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    run = shutil.copytree(tick_run, tmp_path / "run")
    weights = load_file(run / "weights.safetensors")
    save_file({name: values * 1.5 for name, values in weights.items()}, run / "weights.safetensors")
    out = tmp_path / "store"
    out.mkdir()
    (out / "tick.mar").write_bytes(b"the one before")

    with pytest.raises(BuildFailed, match="got one off by"):
        build_archive("tick", run, "1.0", out)
    assert (out / "tick.mar").read_bytes() == b"the one before"
    assert [path.name for path in out.iterdir()] == ["tick.mar"]


@pytest.mark.parametrize("missing", ["model.json", "weights.safetensors", "golden.npz"])
def test_incomplete_run_is_named(tick_run: Path, tmp_path: Path, missing: str) -> None:
    run = shutil.copytree(tick_run, tmp_path / "run")
    (run / missing).unlink()

    with pytest.raises(BuildFailed, match=missing):
        build_archive("tick", run, "1.0", tmp_path / "out")


def test_run_of_another_model_is_refused(tick_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tick_run, tmp_path / "run")
    described = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(described | {"model": "price"}))

    with pytest.raises(BuildFailed, match="'price'"):
        build_archive("tick", run, "1.0", tmp_path / "out")


def test_missing_golden_output_is_named(tick_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tick_run, tmp_path / "run")
    with np.load(run / "golden.npz") as stored:
        kept = {name: stored[name] for name in stored.files} | {"output.up": stored["output.buy"]}
    np.savez(run / "golden.npz", **kept)

    with pytest.raises(BuildFailed, match="output 'up'"):
        build_archive("tick", run, "1.0", tmp_path / "out")


def test_the_script_builds_and_prints_the_archive(tick_run: Path, tmp_path: Path) -> None:
    options = ("--run", tick_run, "--version", "3.1", "--out", tmp_path, "--json")
    result = call_script("scripts/archive.py", "tick", *options)

    assert result.exit_code == 0, result.stderr
    built = json.loads(result.stdout)
    assert built["version"] == "3.1"
    assert read_manifest(Path(built["path"]))["model"]["modelVersion"] == "3.1"


def test_script_fails_in_one_line(tmp_path: Path) -> None:
    result = call_script("scripts/archive.py", "tick", "--run", tmp_path / "nothing", "--out", tmp_path)

    assert result.exit_code == 1
    assert "nothing/model.json" in result.stderr.replace("\n", "")
    assert "Traceback" not in result.stderr


def test_bad_archive_is_a_runtime_error() -> None:
    """TorchServe's worker responds to a RuntimeError while loading with 500 instead of dying."""
    assert issubclass(BadArchive, RuntimeError)


def test_archive_that_refuses_its_content_is_named(tick_archive: Path, tmp_path: Path) -> None:
    with ZipFile(tick_archive) as archive:
        description = json.loads(archive.read("model.json"))
    description["network"]["config"] = {"hidden": 16}  # the weights are 32 wide
    path = rewrite(tick_archive, tmp_path / "tick.mar", {"model.json": json.dumps(description).encode()})

    with pytest.raises(UnreadableArchive, match=r"(?s)tick\.mar.*size mismatch"):
        connect(f"mar:{path}", "tick")
