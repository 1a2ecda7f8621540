"""Registry of a model's versions with their archives, in MLflow's model registry.

A version is found by its own number, which TorchServe uses and which is in the archive; MLflow has another one.
The archive itself is stored, so that a version that served years ago can be examined, or served again.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from nautilus_torchserve.inference.model_files import parse_description
from nautilus_torchserve.mlflow_store import (
    experiment_id,
    fail_fast,
    open_store,
    redact,
    registry_store,
    tracking_store,
    typed_errors,
)
from nautilus_torchserve.registry.record import (
    ALIASES,
    ARCHIVED,
    PRODUCTION,
    STAGING,
    RegisteredVersion,
    archive_tags,
    now,
    read_version,
)
from nautilus_torchserve.signing.archive_signature import Untrusted, read_digest, read_identity, verify_archive
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.digest import SIGNATURE


@dataclass(frozen=True)
class ArchiveCopy:
    """A verified copy in a folder of its own, which is deleted when the block ends."""

    path: Path
    """Path of ``<model>-<version>.mar``."""
    model: str
    version: str
    digest: str
    signer: str | None
    """Name of the key that signed it; None: it was accepted without a signature."""


@contextmanager
def verified_copy(archive: Path, trusted: Path, allow_unsigned: bool = False) -> Iterator[ArchiveCopy]:
    """Copy an archive while verifying it, since the file itself may be replaced meanwhile.

    Parameters
    ----------
    trusted : Path
        Folder of the public keys whose signatures count.
    allow_unsigned : bool
        Accept archives without any signature; one that has a signature needs a trusted one all the same.

    Raises
    ------
    Untrusted
        The file is no archive, hides content, or is not signed by a trusted key.
    """
    with tempfile.TemporaryDirectory(prefix="examined-") as folder:
        copy = Path(folder) / "copy"
        if allow_unsigned and not _is_signed(archive):
            shutil.copyfile(archive, copy)
            (model, version), digest, signer = read_identity(copy), read_digest(copy), None
        else:
            with copy.open("wb") as out:
                verified = verify_archive(archive, trusted, copy=out)
            model, version, digest, signer = verified.model, verified.version, verified.digest, verified.signer
        yield ArchiveCopy(copy.rename(copy.with_name(f"{model}-{version}.mar")), model, version, digest, signer)


def _is_signed(archive: Path) -> bool:
    read_identity(archive)
    with ZipFile(archive) as members:
        return SIGNATURE in members.namelist()


if TYPE_CHECKING:  # MLflow takes more than a second to import
    from mlflow import MlflowClient

EXPERIMENT = "registry"
"""Experiment with a run for each archive whose training MLflow does not know."""
_DESCRIPTION = "model.json"
_TRACKING = "tracking.json"
"""File of a run folder that names MLflow's run."""

_log = logging.getLogger(__name__)


class RegistryRefused(UserError):
    """Nothing was changed: there is no such version, or it contradicts what is registered."""


@dataclass(frozen=True)
class Registration:
    """Result of registering an archive."""

    version: RegisteredVersion
    """The version with this archive."""
    new: bool
    """False: it was registered before."""


class Registry:
    """MLflow's registry, opened: the tracking store unless MLFLOW_REGISTRY_URI names another.

    Parameters
    ----------
    runs : Path
        Folder of run folders; the default store is ``mlflow.db`` in there.
    trusted : Path
        Folder of the public keys whose signatures count.
    allow_unsigned : bool
        Accept archives without a signature, too. One that has a signature needs a trusted one all the same.

    Raises
    ------
    TrackingFailed
        The store cannot be opened. Every method raises it where the store fails.
    """

    def __init__(self, runs: Path, trusted: Path, allow_unsigned: bool = False) -> None:
        self._tracking, self._store = tracking_store(runs), registry_store(runs)
        self._verified_copy = partial(verified_copy, trusted=trusted, allow_unsigned=allow_unsigned)
        with typed_errors(self._store, "registered versions"), fail_fast():
            self._client: MlflowClient = open_store(self._tracking, self._store)
            self._client.search_registered_models(max_results=1)

    @property
    def store(self) -> str:
        """URI of the store, without passwords."""
        return redact(self._store)

    def add(self, archive: Path, run: Path | None = None) -> Registration:
        """Register an archive as a version of its model and store a copy of it.

        Parameters
        ----------
        archive : Path
            The ``.mar``.
        run : Path, optional
            The run folder that it was packed from: where MLflow knows that training, the version is linked to it.

        Raises
        ------
        Untrusted
            The file is no archive, or does not have a trusted signature.
        RegistryRefused
            Its version is registered with other content, or ``run`` is not what it was packed from.
        """
        with self._verified_copy(archive) as copy:
            model, version = copy.model, copy.version
            if known := self._find_same(copy):
                return Registration(known, new=False)
            with ZipFile(copy.path) as members:
                if _DESCRIPTION not in members.namelist():
                    raise RegistryRefused(f"{archive}: expected an archive with {_DESCRIPTION}, got one without")
                description = members.read(_DESCRIPTION)
            trained_by = None if run is None else self._training_run(run, description, archive)
            tags = archive_tags(parse_description(description, f"{archive}: {_DESCRIPTION}")) | {
                "version": version,
                "digest": copy.digest,
                "bytes": str(copy.path.stat().st_size),
                "archive": f"registry/{copy.digest[:12]}/{copy.path.name}",
            }
            if copy.signer is not None:
                tags["signer"] = copy.signer
            run_id = self._store_archive(copy, tags, trained_by)
        number = self._create(model, tags, run_id)
        for other in self.versions(model):  # another process may have added it meanwhile; all of them keep the first
            if other.version == version and other.number < number:
                with typed_errors(self._store, f"{model} {version}"):
                    self._client.delete_model_version(model, str(number))
                return Registration(self._check_digest(other, tags["digest"]), new=False)
        return Registration(self.find(model, version), new=True)

    def models(self) -> list[str]:
        """Return the names of the models that have a registered version."""
        with typed_errors(self._store, "a list of models"):
            names = [model.name for model in _all_pages(self._client.search_registered_models)]
        return sorted(name for name in names if self.versions(name))

    def versions(self, model: str) -> list[RegisteredVersion]:
        """Return the versions of a model in the order of registration; none where the model is not registered."""
        with typed_errors(self._store, f"a list of the versions of {model}"):
            aliases: dict[int, list[str]] = {}
            for registered in _all_pages(self._client.search_registered_models, f"name = '{model}'"):
                for alias, number in registered.aliases.items():
                    aliases.setdefault(int(number), []).append(alias)
            stored = _all_pages(self._client.search_model_versions, f"name = '{model}'")
        versions = (read_version(entry, tuple(aliases.get(int(entry.version), ()))) for entry in stored)
        return sorted((version for version in versions if version is not None), key=lambda version: version.number)

    def find(self, model: str, name: str) -> RegisteredVersion:
        """Return a version by its number or by alias; of several archived ones, the one archived last.

        Raises
        ------
        RegistryRefused
            There is none.
        """
        versions = self.versions(model)
        if name in ALIASES:
            matches = [version for version in versions if name in version.aliases]
            matches.sort(key=lambda version: version.archived or "")
        else:
            matches = [version for version in versions if version.version == name]
        if not matches:
            registered = ", ".join(version.version for version in versions) or "none"
            raise RegistryRefused(f"{self.store}: expected a registered version of {model}: {registered}, got {name}")
        return matches[-1]

    def fetch(self, version: RegisteredVersion, out: Path) -> None:
        """Write a version's archive to ``out``, once its digest and signature are verified.

        Raises
        ------
        RegistryRefused
            Another or an altered archive is stored, or its key is not trusted any more; ``out`` is as before.
        """
        what = f"the archive of {version.model} {version.version}"
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetched-", dir=out.parent) as folder:
            with typed_errors(self._tracking, what):
                downloaded = Path(self._client.download_artifacts(version.run_id, version.archive, folder))
            try:
                with self._verified_copy(downloaded) as copy:
                    if (copy.model, copy.version) != (version.model, version.version):
                        raise RegistryRefused(f"{self.store}: expected {what}, got {copy.model} {copy.version}")
                    self._check_digest(version, copy.digest)
            except Untrusted as error:
                raise RegistryRefused(f"{self.store}: {what}: {error}") from error
            downloaded.replace(out)

    def set_alias(self, version: RegisteredVersion, alias: str) -> None:
        """Set an alias, and delete the version's aliases that contradict it. Changes no server."""
        model, number = version.model, str(version.number)
        contradicting = {PRODUCTION: (STAGING, ARCHIVED), STAGING: (ARCHIVED,), ARCHIVED: (STAGING, PRODUCTION)}[alias]
        with typed_errors(self._store, f"alias {alias} of {model} {version.version}"):
            if alias == ARCHIVED:  # MLflow's alias points to one version, the tag is on all of them
                self._client.set_model_version_tag(model, number, ARCHIVED, now())
            elif version.archived is not None:
                self._client.delete_model_version_tag(model, number, ARCHIVED)
            self._client.set_registered_model_alias(model, alias, number)
            current = self._client.get_registered_model(model).aliases
            for other in contradicting:
                if str(current.get(other)) == number:
                    self._client.delete_registered_model_alias(model, other)

    def _find_same(self, archive: ArchiveCopy) -> RegisteredVersion | None:
        for version in self.versions(archive.model):
            if version.version == archive.version:
                return self._check_digest(version, archive.digest)
        return None

    def _check_digest(self, version: RegisteredVersion, digest: str) -> RegisteredVersion:
        if version.digest != digest:
            raise RegistryRefused(
                f"{version.model} {version.version}: expected digest {version.digest[:12]}, registered on "
                f"{version.registered}, got {digest[:12]}: other content needs another version"
            )
        return version

    def _training_run(self, run: Path, description: bytes, archive: Path) -> str | None:
        """Return MLflow's id of the training that wrote a run folder; None where MLflow does not know it."""
        if not (run / _DESCRIPTION).is_file() or (run / _DESCRIPTION).read_bytes() != description:
            raise RegistryRefused(f"{run}: expected the run that {archive} was packed from, got another {_DESCRIPTION}")
        if not (run / _TRACKING).is_file():
            return None
        run_id: str = json.loads((run / _TRACKING).read_text())["mlflow_run_id"]
        from mlflow.exceptions import MlflowException

        with typed_errors(self._tracking, f"run {run_id}"):
            try:
                state = self._client.get_run(run_id).info.lifecycle_stage
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                state = "unknown"
        if state != "active":
            _log.warning("%s: expected run %s of %s, got state %s", redact(self._tracking), run_id, run, state)
        return run_id if state == "active" else None

    def _store_archive(self, archive: ArchiveCopy, tags: dict[str, str], trained_by: str | None) -> str:
        """Store the archive with the run that trained it, or with a new one, and return the run's id."""
        from mlflow.entities import Metric

        folder = str(Path(tags["archive"]).parent)
        with typed_errors(self._tracking, f"the archive of {archive.model} {archive.version}"):
            if trained_by is not None:
                self._client.log_artifact(trained_by, str(archive.path), folder)
                return trained_by
            experiment = experiment_id(self._client, self._tracking, EXPERIMENT)
            run_id: str = self._client.create_run(experiment, run_name=f"{archive.model} {archive.version}").info.run_id
            self._client.log_artifact(run_id, str(archive.path), folder)
            metrics = [
                Metric(name.removeprefix("metrics."), float(value), 0, 0)
                for name, value in tags.items()
                if name.startswith("metrics.")
            ]
            self._client.log_batch(run_id, metrics=metrics)  # MLflow's own pages compare runs
            self._client.set_terminated(run_id, "FINISHED")
        return run_id

    def _create(self, model: str, tags: dict[str, str], run_id: str) -> int:
        from mlflow.exceptions import MlflowException

        with typed_errors(self._store, f"a version of {model}"):
            try:
                self._client.create_registered_model(model)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            created = self._client.create_model_version(model, f"runs:/{run_id}/{tags['archive']}", run_id, tags)
        return int(created.version)


def _all_pages(search: Callable[..., Any], only: str | None = None) -> list[Any]:
    """Return the results of all pages of a search."""
    page = search(only)
    results = list(page)
    while page.token:
        page = search(only, page_token=page.token)
        results += page
    return results
