"""scripts/registry.py: what it prints, and how it ends."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from nautilus_torchserve.mlflow_store import FILES_VARIABLE, REGISTRY_VARIABLE, URI_VARIABLE
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.signing.archive_signature import sign_archive
from nautilus_torchserve.signing.keys import make_key
from nautilus_torchserve.wire.digest import archive_digest
from support import PROJECT, run_script, script_app


@pytest.fixture(autouse=True)
def _no_store_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (URI_VARIABLE, REGISTRY_VARIABLE, FILES_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def folder(tick_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds ``tick.mar``, signed by a key of ``trusted``, and ``runs`` with a store in which it is registered."""
    folder = tmp_path_factory.mktemp("registry-script")
    make_key(folder / "desk.key", folder / "trusted/desk.pub")
    shutil.copy(tick_archive, folder / "tick.mar")
    sign_archive(folder / "tick.mar", folder / "desk.key")
    with pytest.MonkeyPatch.context() as environment:
        for variable in (URI_VARIABLE, REGISTRY_VARIABLE, FILES_VARIABLE):
            environment.delenv(variable, raising=False)
        added = registry(folder, "add", str(folder / "tick.mar"), "--trusted", str(folder / "trusted"))
    assert added.exit_code == 0, added.stderr
    assert "tick 1.0 registered" in added.stderr
    assert added.stdout == ""
    return folder


def registry(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(script_app(PROJECT / "scripts/registry.py"), [*arguments, "--runs", str(folder / "runs")])


def document_of(result: Result) -> dict[str, Any]:
    """The one object on stdout."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_adding_again_is_reported_and_no_error(folder: Path) -> None:
    again = registry(folder, "add", str(folder / "tick.mar"), "--trusted", str(folder / "trusted"), "--json")

    assert document_of(again)["new"] is False
    assert "was registered on" in again.stderr


@pytest.mark.slow
def test_the_script_by_itself_prints_one_object_and_nothing_of_mlflow(folder: Path, tmp_path: Path) -> None:
    result = run_script(
        PROJECT / "scripts/registry.py",
        "add",
        folder / "tick.mar",
        "--trusted",
        folder / "trusted",
        "--runs",
        tmp_path / "runs",
        "--json",
    )

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["digest"] == archive_digest(folder / "tick.mar")
    assert [line for line in result.stderr.splitlines() if line.strip()] == [
        f"tick 1.0 registered: digest {archive_digest(folder / 'tick.mar')[:12]}, MLflow's number 1, signed by desk"
    ]


def test_a_file_that_is_no_archive_ends_with_status_1(folder: Path) -> None:
    result = registry(folder, "add", __file__, "--trusted", str(folder / "trusted"))

    assert result.exit_code == 1
    assert "error: " in result.stderr
    assert "expected a model archive" in result.stderr


def test_list_names_versions_and_metrics(folder: Path) -> None:
    shown, listed = registry(folder, "list"), document_of(registry(folder, "list", "--json"))

    (version,) = listed["models"]["tick"]["versions"]
    assert version["digest"] == archive_digest(folder / "tick.mar")
    assert (listed["models"]["tick"]["server"], listed["models"]["tick"]["differences"]) == (None, None)
    assert version["digest"][:12] in shown.stderr
    assert "accuracy" in shown.stderr


def test_an_unregistered_model_is_listed_as_none(folder: Path) -> None:
    result = registry(folder, "list", "price")

    assert result.exit_code == 0
    assert "no version of price is registered" in result.stderr


def test_compare_shows_both_and_gives_all_as_json(folder: Path) -> None:
    shown, compared = (
        registry(folder, "compare", "tick", "1.0", "1.0"),
        registry(folder, "compare", "tick", "1.0", "1.0", "--json"),
    )

    assert "differs" not in shown.stderr
    assert set(document_of(compared)["same"].values()) <= {True, False}
    assert document_of(compared)["metrics"]["accuracy"]["difference"] == 0.0


def test_get_writes_the_archive_and_refuses_what_is_not_there(folder: Path, tmp_path: Path) -> None:
    options = ("--out", str(tmp_path / "back.mar"), "--trusted", str(folder / "trusted"))

    missing = registry(folder, "get", "tick", "staging", *options)
    got = registry(folder, "get", "tick", "1.0", *options, "--json")

    assert (missing.exit_code, "got staging" in missing.stderr) == (1, True)
    assert document_of(got)["path"] == str(tmp_path / "back.mar")
    assert archive_digest(tmp_path / "back.mar") == document_of(got)["digest"]


def test_list_shows_what_the_server_serves_until_the_alias_agrees(
    folder: Path, tick_server: TorchServe, tmp_path: Path
) -> None:
    home = ("--home", str(tick_server.home))
    make_staging = ("alias", "tick", "1.0", "staging", *home, "--trusted", str(folder / "trusted"))
    make_production = ("alias", "tick", "1.0", "production", *home, "--trusted", str(folder / "trusted"))

    before = document_of(registry(folder, "list", "tick", *home, "--json"))["models"]["tick"]
    refused = registry(folder, *make_staging)
    done = document_of(registry(folder, *make_production, "--reports", str(tmp_path), "--json"))
    after = document_of(registry(folder, "list", "tick", *home, "--json"))["models"]["tick"]

    assert before["differences"] == ["production is no version, the server's default version is 1.0"]
    assert (refused.exit_code, "expected a version that does not serve" in refused.stderr) == (1, True)
    assert (done["ok"], done["rollout"], done["version"]["aliases"]) == (True, None, ["production"])
    assert after["differences"] == []
    assert [version["digest"] for version in after["server"] if version["default"]] == [
        archive_digest(folder / "tick.mar")
    ]


def test_another_name_than_the_three_aliases_is_an_invalid_argument(folder: Path, tick_server: TorchServe) -> None:
    result = registry(folder, "alias", "tick", "1.0", "champion", "--home", str(tick_server.home))

    assert result.exit_code == 2
    assert "expected one of staging, production, archived" in result.stderr


def test_an_unreachable_server_is_reported_and_an_error_where_it_is_needed(folder: Path, tmp_path: Path) -> None:
    listed = registry(folder, "list", "--home", str(tmp_path))
    labelled = registry(folder, "alias", "tick", "1.0", "production", "--home", str(tmp_path))

    assert (listed.exit_code, labelled.exit_code) == (0, 1)
    assert "expected a running server" in listed.stderr
    assert "expected a running server" in labelled.stderr
