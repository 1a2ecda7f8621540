"""scripts/keys.py, sign.py, verify.py and archive.py --sign-key as a person or a CI job calls them."""

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
from click.testing import Result
from typer.testing import CliRunner

from nautilus_torchserve.signing.trust import read_trust
from support import PROJECT, script_app

APPS = {name: script_app(PROJECT / "scripts" / f"{name}.py") for name in ("keys", "sign", "verify", "archive")}


def called(script: str, *arguments: str | Path) -> Result:
    return CliRunner().invoke(APPS[script], [*map(str, arguments)])


def printed_json(script: str, *arguments: str | Path) -> dict:
    result = called(script, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with ZipFile(tmp_path / "tick.mar", "w") as members:
        manifest = {"model": {"modelName": "tick", "modelVersion": "1.0"}}
        members.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    return tmp_path / "tick.mar"


def test_from_a_key_to_a_verified_archive(tmp_path: Path, archive: Path) -> None:
    trusted = tmp_path / "trusted"

    made = printed_json("keys", "alice", "--private", tmp_path / "alice.key", "--trusted", trusted)
    signed = printed_json("sign", archive, "--key", made["private"])
    verified = printed_json("verify", archive, "--trusted", trusted)

    assert verified == {"model": "tick", "version": "1.0", "digest": signed["digest"], "signer": "alice"}
    assert made["key_id"] == signed["key_id"]
    assert list(read_trust(trusted).keys) == [made["key_id"]]


def test_results_are_printed_as_text(tmp_path: Path, archive: Path) -> None:
    options = ("--private", tmp_path / "alice.key", "--trusted", tmp_path)

    made = called("keys", "alice", *options)
    signed = called("sign", archive, "--key", tmp_path / "alice.key")
    verified = called("verify", archive, "--trusted", tmp_path)

    assert "commit it" in made.stderr
    assert f"{tmp_path / 'alice.pub'}" in made.stderr
    assert f"{archive}: tick 1.0" in signed.stderr
    assert f"{archive}: tick 1.0, signed by alice" in verified.stderr
    assert made.stdout == signed.stdout == verified.stdout == ""
    assert "PRIVATE" not in made.output


def test_without_a_place_the_key_goes_into_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    made = printed_json("keys", "alice", "--trusted", tmp_path / "trusted")

    assert Path(made["private"]) == tmp_path / ".config" / "nautilus-torchserve" / "alice.key"
    assert Path(made["private"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("verify", "ARCHIVE", "--trusted", "TMP"), "expected a signed archive, got an unsigned one"),
        (("verify", "TMP/missing.mar"), "expected a model archive, got no file"),
        (("sign", "ARCHIVE", "--key", "TMP/missing.key"), "missing.key: expected a private key: No such file"),
        (("sign", "ARCHIVE", "--key", "env:NOT_SET"), "got an empty one, or none"),
        (("keys", "alice", "--private", "TMP/repo/keys/alice.key", "--trusted", "TMP"), "outside of git"),
    ],
)
def test_a_failed_job_prints_its_reason_in_one_line(
    tmp_path: Path, archive: Path, arguments: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    script, *given = (argument.replace("ARCHIVE", str(archive)).replace("TMP", str(tmp_path)) for argument in arguments)

    result = called(script, *given)

    assert result.exit_code == 1
    assert result.stdout == ""
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_a_name_that_would_leave_the_folder_is_an_invalid_argument(tmp_path: Path) -> None:
    result = called("keys", "../alice", "--private", tmp_path / "alice.key", "--trusted", tmp_path / "trusted")

    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_an_archive_is_packed_signed(tick_run: Path, tmp_path: Path) -> None:
    printed_json("keys", "ci", "--private", tmp_path / "ci.key", "--trusted", tmp_path)
    options = ("--run", tick_run, "--version", "3.2", "--out", tmp_path / "out", "--sign-key", tmp_path / "ci.key")

    built = printed_json("archive", "tick", *options)
    verified = printed_json("verify", built["path"], "--trusted", tmp_path)

    assert verified == {"model": "tick", "version": "3.2", "digest": built["digest"], "signer": "ci"}


def test_a_key_that_cannot_be_used_packs_nothing(tick_run: Path, tmp_path: Path) -> None:
    result = called("archive", "tick", "--run", tick_run, "--out", tmp_path, "--sign-key", "env:NOT_SET")

    assert result.exit_code == 1
    assert "env:NOT_SET: expected a private key in PEM in this variable" in result.stderr
    assert list(tmp_path.iterdir()) == []
