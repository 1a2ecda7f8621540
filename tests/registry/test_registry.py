"""The registry: what it stores of an archive, what it returns, what it refuses."""

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from registry_sample import variant

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.inference.model_files import read_description
from nautilus_torchserve.mlflow_store import (
    FILES_VARIABLE,
    REGISTRY_VARIABLE,
    URI_VARIABLE,
    TrackingFailed,
    tracking_store,
)
from nautilus_torchserve.registry.registry import Registry, RegistryRefused
from nautilus_torchserve.signing.archive_signature import Untrusted, sign_archive, verify_archive
from nautilus_torchserve.signing.keys import make_key
from nautilus_torchserve.training.runs.tracking import track


@pytest.fixture(autouse=True)
def _no_store_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (URI_VARIABLE, REGISTRY_VARIABLE, FILES_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``desk.key``, which is trusted (``trusted/desk.pub``), and ``stranger.key``."""
    folder = tmp_path_factory.mktemp("keys")
    make_key(folder / "desk.key", folder / "trusted/desk.pub")
    make_key(folder / "stranger.key", folder / "strangers/stranger.pub")
    return folder


@pytest.fixture(scope="module")
def archive(tick_archive: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1.0 of the tick classifier, signed by the desk."""
    return variant(tick_archive, tmp_path_factory.mktemp("registry-archive") / "tick.mar", keys / "desk.key")


@pytest.fixture(scope="module")
def new_runs(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    """A folder with an empty store, to be copied."""
    with pytest.MonkeyPatch.context() as environment:
        for variable in (URI_VARIABLE, REGISTRY_VARIABLE):
            environment.delenv(variable, raising=False)
        runs = tmp_path_factory.mktemp("new-store")
        Registry(runs, keys / "trusted")
    return runs


@pytest.fixture
def runs(new_runs: Path, tmp_path: Path) -> Path:
    """A folder with a store of its own."""
    return shutil.copytree(new_runs, tmp_path / "runs")


@pytest.fixture
def registry(runs: Path, keys: Path) -> Registry:
    """A registry without versions."""
    return Registry(runs, keys / "trusted")


def test_the_archives_own_metadata_are_registered(
    registry: Registry, runs: Path, archive: Path, tick_run: Path, keys: Path
) -> None:
    description, verified = read_description(tick_run), verify_archive(archive, keys / "trusted")

    added = registry.add(archive)

    version = added.version
    assert added.new
    assert (version.model, version.version, version.number, version.aliases) == ("tick", "1.0", 1, ())
    assert (version.digest, version.signer) == (verified.digest, "desk")
    assert version.facts["feature_schema_sha256"] == FeatureSchema.from_dict(description["feature_schema"]).sha256
    assert version.training["sha256"] == description["training"]["sha256"]
    assert version.metrics["accuracy"] == description["metrics"]["accuracy"]
    assert version.metrics["trade_probability.p90"] == description["metrics"]["trade_probability"]["p90"]
    assert version.network == {
        "module": "model_defs.tick_classifier",
        "config.clip": "5.0",
        "config.hidden": "32",
        "config.inputs": "4",
    }
    assert version.period is not None
    assert version.period[0].startswith("2024-01-01T00:00:0")
    assert version.facts.get("git_commit") == description["git_commit"]
    from mlflow import MlflowClient

    client = MlflowClient(tracking_store(runs))
    kept = client.get_model_version("tick", "1")
    assert (kept.run_id, kept.source) == (version.run_id, f"runs:/{version.run_id}/{version.archive}")
    assert client.get_run(version.run_id).data.metrics["accuracy"] == description["metrics"]["accuracy"]


def test_the_same_content_twice_is_one_version(registry: Registry, archive: Path, keys: Path, tmp_path: Path) -> None:
    first = registry.add(archive)
    signed_anew = Path(shutil.copy(archive, tmp_path / "again.mar"))
    sign_archive(signed_anew, keys / "desk.key")

    again = registry.add(signed_anew)

    assert not again.new
    assert again.version == first.version
    assert registry.versions("tick") == [first.version]


def test_a_version_cannot_get_other_content(registry: Registry, archive: Path, keys: Path, tmp_path: Path) -> None:
    first = registry.add(archive)
    other = variant(archive, tmp_path / "other.mar", keys / "desk.key", changes={"seed": 2})

    with pytest.raises(RegistryRefused, match=f"expected digest {first.version.digest[:12]}"):
        registry.add(other)

    assert registry.versions("tick") == [first.version]


@pytest.mark.parametrize(
    ("key", "why"),
    [(None, "expected a signed archive, got an unsigned one"), ("stranger.key", "expected a signature by a key in")],
)
def test_an_archive_without_a_trusted_signature_is_not_registered(
    registry: Registry, archive: Path, keys: Path, tmp_path: Path, key: str | None, why: str
) -> None:
    untrusted = variant(archive, tmp_path / "untrusted.mar", None if key is None else keys / key)

    with pytest.raises(Untrusted, match=why):
        registry.add(untrusted)

    assert registry.models() == []


def test_unsigned_archives_are_accepted_only_with_allow_unsigned(
    runs: Path, archive: Path, keys: Path, tmp_path: Path
) -> None:
    registry = Registry(runs, keys / "trusted", allow_unsigned=True)
    unsigned = variant(archive, tmp_path / "unsigned.mar", None)
    strange = variant(archive, tmp_path / "strange.mar", keys / "stranger.key", version="2.0")

    version = registry.add(unsigned).version

    assert version.signer is None
    registry.fetch(version, tmp_path / "back.mar")
    with pytest.raises(RegistryRefused, match="expected a signed archive, got an unsigned one"):
        Registry(runs, keys / "trusted").fetch(version, tmp_path / "back.mar")
    with pytest.raises(Untrusted, match="expected a signature by a key in"):
        registry.add(strange)


def test_a_version_is_linked_to_the_training_that_mlflow_knows(
    registry: Registry, runs: Path, archive: Path, tick_run: Path
) -> None:
    trained = shutil.copytree(tick_run, runs / "tick")
    with track(runs, "tick", "tick", {}, {}) as tracked:
        (trained / "tracking.json").write_text(json.dumps({"inputs": "", "mlflow_run_id": tracked.run_id}))

    version = registry.add(archive, trained).version

    assert version.run_id == tracked.run_id
    kept = runs / "mlflow-artifacts/tick" / tracked.run_id / "artifacts" / version.archive
    assert kept.is_file()


def test_version_whose_training_was_deleted_from_mlflow_gets_a_new_run(
    registry: Registry, runs: Path, archive: Path, tick_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained = shutil.copytree(tick_run, runs / "tick")
    (trained / "tracking.json").write_text(json.dumps({"inputs": "", "mlflow_run_id": "0" * 32}))

    version = registry.add(archive, trained).version

    assert version.run_id not in ("", "0" * 32)
    assert "got state unknown" in caplog.text


def test_a_run_that_the_archive_was_not_built_from_is_refused(
    registry: Registry, runs: Path, archive: Path, tick_run: Path
) -> None:
    other = shutil.copytree(tick_run, runs / "tick")
    (other / "model.json").write_text(json.dumps({**read_description(tick_run), "seed": 2}))

    with pytest.raises(RegistryRefused, match=r"expected the run that .* was packed from"):
        registry.add(archive, other)

    assert registry.models() == []


def test_archive_is_fetched_unchanged(registry: Registry, archive: Path, keys: Path, tmp_path: Path) -> None:
    version = registry.add(archive).version

    folder = tmp_path / "a new folder"
    registry.fetch(version, folder / "back.mar")

    assert verify_archive(folder / "back.mar", keys / "trusted") == verify_archive(archive, keys / "trusted")
    assert [path.name for path in folder.iterdir()] == ["back.mar"]


def put_other_content(stored: Path, keys: Path) -> None:
    variant(stored, stored.with_suffix(".new"), keys / "desk.key", changes={"seed": 2}).replace(stored)


def flip_a_bit(stored: Path, _: Path) -> None:
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)


@pytest.mark.parametrize(("spoil", "why"), [(put_other_content, "expected digest"), (flip_a_bit, "stored|damaged")])
def test_archive_altered_in_the_store_is_not_fetched(
    registry: Registry, runs: Path, archive: Path, keys: Path, tmp_path: Path, spoil: Any, why: str
) -> None:
    version = registry.add(archive).version
    (stored,) = runs.rglob("*.mar")
    spoil(stored, keys)
    (tmp_path / "back.mar").write_text("what was there")

    with pytest.raises(RegistryRefused, match=why):
        registry.fetch(version, tmp_path / "back.mar")

    assert (tmp_path / "back.mar").read_text() == "what was there"


def test_older_archive_is_not_accepted_as_a_newer_one(
    registry: Registry, runs: Path, archive: Path, keys: Path, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    old = registry.add(archive).version
    registry.add(variant(archive, tmp_path / "2.mar", keys / "desk.key", "2.0"))
    new, kept = registry.find("tick", "2.0"), runs / "mlflow-artifacts/registry"
    shutil.copytree(kept / old.run_id, kept / new.run_id, dirs_exist_ok=True)
    for name, value in (("digest", old.digest), ("archive", old.archive)):  # by somebody who may write to MLflow
        MlflowClient(tracking_store(runs)).set_model_version_tag("tick", str(new.number), name, value)

    with pytest.raises(RegistryRefused, match=r"expected the archive of tick 2\.0, got tick 1\.0"):
        registry.fetch(registry.find("tick", "2.0"), tmp_path / "back.mar")


def test_archive_of_a_withdrawn_key_is_not_fetched(
    registry: Registry, runs: Path, archive: Path, keys: Path, tmp_path: Path
) -> None:
    version = registry.add(archive).version

    with pytest.raises(RegistryRefused, match="expected a signature by a key in"):
        Registry(runs, keys / "strangers").fetch(version, tmp_path / "back.mar")


def test_concurrent_registrations_of_one_archive_make_one_version(runs: Path, archive: Path, keys: Path) -> None:
    at_once = Barrier(4)

    def add(registry: Registry) -> bool:
        at_once.wait()
        return registry.add(archive).new

    with ThreadPoolExecutor(4) as pool:
        new = list(pool.map(add, [Registry(runs, keys / "trusted") for _ in range(4)]))

    assert new.count(True) == 1
    assert len(Registry(runs, keys / "trusted").versions("tick")) == 1


def test_one_version_is_production_one_staging_and_any_number_archived(
    registry: Registry, archive: Path, keys: Path, tmp_path: Path
) -> None:
    for number in ("1.0", "2.0", "3.0"):
        registry.add(variant(archive, tmp_path / f"{number}.mar", keys / "desk.key", number))

    def label(version: str, alias: str) -> dict[str, tuple[str, ...]]:
        registry.set_alias(registry.find("tick", version), alias)
        return {version.version: version.aliases for version in registry.versions("tick")}

    assert label("1.0", "production") == {"1.0": ("production",), "2.0": (), "3.0": ()}
    assert label("2.0", "staging") == {"1.0": ("production",), "2.0": ("staging",), "3.0": ()}
    assert label("staging", "production") == {"1.0": (), "2.0": ("production",), "3.0": ()}
    assert label("3.0", "archived") == {"1.0": (), "2.0": ("production",), "3.0": ("archived",)}
    assert label("1.0", "archived") == {"1.0": ("archived",), "2.0": ("production",), "3.0": ("archived",)}
    assert registry.find("tick", "archived").version == "1.0"
    assert label("1.0", "staging") == {"1.0": ("staging",), "2.0": ("production",), "3.0": ("archived",)}
    assert registry.find("tick", "archived").version == "3.0"


def test_unknown_version_is_named_with_the_registered_ones(registry: Registry, archive: Path) -> None:
    registry.add(archive)

    with pytest.raises(RegistryRefused, match=r"expected a registered version of tick: 1\.0, got 2\.0"):
        registry.find("tick", "2.0")
    with pytest.raises(RegistryRefused, match="got production"):
        registry.find("tick", "production")


def test_versions_registered_by_other_software_are_ignored(registry: Registry, runs: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_store(runs))
    client.create_registered_model("foreign")
    client.create_model_version("foreign", "file:///somewhere")

    assert registry.models() == []
    assert registry.versions("foreign") == []


@pytest.mark.slow
def test_a_model_is_found_behind_many_others(registry: Registry, runs: Path, archive: Path) -> None:
    from mlflow import MlflowClient

    for number in range(101):  # one more than MLflow tells at once
        MlflowClient(tracking_store(runs)).create_registered_model(f"another-{number}")

    registry.add(archive)

    assert registry.models() == ["tick"]


def test_versions_may_be_registered_apart_from_runs(
    archive: Path, keys: Path, new_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("runs", "apart"):
        shutil.copytree(new_runs, tmp_path / name)
    monkeypatch.setenv(REGISTRY_VARIABLE, tracking_store(tmp_path / "apart"))

    Registry(tmp_path / "runs", keys / "trusted").add(archive)

    monkeypatch.delenv(REGISTRY_VARIABLE)
    assert Registry(tmp_path / "runs", keys / "trusted").models() == []
    assert Registry(tmp_path / "apart", keys / "trusted").models() == ["tick"]
    assert [path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*.mar")] == ["runs"]


def test_missing_client_library_is_named(
    archive: Path, keys: Path, new_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)  # as where it is not installed
    monkeypatch.setenv(FILES_VARIABLE, "s3://bucket/archives")

    with pytest.raises(TrackingFailed, match="boto3"):
        Registry(shutil.copytree(new_runs, tmp_path / "runs"), keys / "trusted").add(archive)
