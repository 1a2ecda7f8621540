"""Which versions of a model there are and were, each with its archive: MLflow's model registry.

A version is found by its own number, the one that TorchServe knows and the archive carries; MLflow's counts beside it.
The archive itself is kept, so that a version that served years ago can be looked at, or served, again.
"""

import json
import logging
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from nautilus_torchserve.inference.model_files import parse_description
from nautilus_torchserve.mlflow_store import (
    experiment_id,
    hasty,
    open_store,
    registry_store,
    shown,
    tracking_store,
    typed_errors,
)
from nautilus_torchserve.registry.examined_archive import ExaminedArchive, examined
from nautilus_torchserve.registry.record import (
    ALIASES,
    ARCHIVED,
    PRODUCTION,
    STAGING,
    RegisteredVersion,
    now,
    read_version,
    tags_of,
)
from nautilus_torchserve.signing.archive_signature import Untrusted
from nautilus_torchserve.user_error import UserError

if TYPE_CHECKING:  # MLflow takes more than a second to import
    from mlflow import MlflowClient

EXPERIMENT = "registry"
"""Holds a run for each archive whose training MLflow does not know."""
_DESCRIPTION = "model.json"
_TRACKING = "tracking.json"
"""In a run folder: which of MLflow's runs wrote it."""

_log = logging.getLogger(__name__)


class RegistryRefused(UserError):
    """Nothing was changed: there is no such version, or it would contradict what is registered."""


@dataclass(frozen=True)
class Added:
    """What became of an archive."""

    version: RegisteredVersion
    """The version that holds it."""
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
        Take and give archives without a signature, too. One that has a signature must have a trusted one all the same.

    Raises
    ------
    TrackingFailed
        The store cannot be opened. So does every method, where it does not take or give what it should.
    """

    def __init__(self, runs: Path, trusted: Path, allow_unsigned: bool = False) -> None:
        self._tracking, self._store = tracking_store(runs), registry_store(runs)
        self._trusted = trusted
        self._allow_unsigned = allow_unsigned
        with typed_errors(self._store, "registered versions"), hasty():
            self._client: MlflowClient = open_store(self._tracking, self._store)
            self._client.search_registered_models(max_results=1)

    @property
    def store(self) -> str:
        """Where versions are kept, without passwords."""
        return shown(self._store)

    def add(self, archive: Path, run: Path | None = None) -> Added:
        """Register an archive as a version of its model and keep a copy of it.

        Parameters
        ----------
        archive : Path
            The ``.mar``.
        run : Path, optional
            The run folder that it was built from: where MLflow knows that training, the version is linked to it.

        Raises
        ------
        Untrusted
            No archive, or one that does not have a trusted signature.
        RegistryRefused
            Its version is registered with other content, or ``run`` is not what it was built from.
        """
        with self._examine(archive) as copy:
            model, version = copy.model, copy.version
            if known := self._same(copy):
                return Added(known, new=False)
            with ZipFile(copy.path) as members:
                if _DESCRIPTION not in members.namelist():
                    raise RegistryRefused(f"{archive}: an archive with {_DESCRIPTION} expected, was without")
                said = members.read(_DESCRIPTION)
            trained_by = None if run is None else self._training(run, said, archive)
            tags = tags_of(parse_description(said, f"{archive}: {_DESCRIPTION}")) | {
                "version": version,
                "digest": copy.digest,
                "bytes": str(copy.path.stat().st_size),
                "archive": f"registry/{copy.digest[:12]}/{copy.path.name}",
            }
            if copy.signer is not None:
                tags["signer"] = copy.signer
            run_id = self._keep(copy, tags, trained_by)
        number = self._create(model, tags, run_id)
        for each in self.versions(model):  # somebody may have added it meanwhile; all adders find the same one first
            if each.version == version and each.number < number:
                with typed_errors(self._store, f"{model} {version}"):
                    self._client.delete_model_version(model, str(number))
                return Added(self._compared(each, tags["digest"]), new=False)
        return Added(self.find(model, version), new=True)

    def models(self) -> list[str]:
        """Models that have a version registered here, by name."""
        with typed_errors(self._store, "a list of models"):
            names = [each.name for each in _all_pages(self._client.search_registered_models)]
        return sorted(name for name in names if self.versions(name))

    def versions(self, model: str) -> list[RegisteredVersion]:
        """Every version of a model, in the order of their registration; none for a model that is not registered."""
        with typed_errors(self._store, f"a list of the versions of {model}"):
            held: dict[int, list[str]] = {}
            for each in _all_pages(self._client.search_registered_models, f"name = '{model}'"):
                for alias, number in each.aliases.items():
                    held.setdefault(int(number), []).append(alias)
            kept = _all_pages(self._client.search_model_versions, f"name = '{model}'")
        read = (read_version(each, tuple(held.get(int(each.version), ()))) for each in kept)
        return sorted((each for each in read if each is not None), key=lambda each: each.number)

    def find(self, model: str, name: str) -> RegisteredVersion:
        """A version by its number or by alias; of several archived ones, the one archived last.

        Raises
        ------
        RegistryRefused
            There is none.
        """
        versions = self.versions(model)
        if name in ALIASES:
            found = [each for each in versions if name in each.aliases]
            found.sort(key=lambda each: each.archived or "")
        else:
            found = [each for each in versions if each.version == name]
        if not found:
            there = ", ".join(each.version for each in versions) or "none"
            raise RegistryRefused(f"{self.store}: {model} {name} expected, was not among the registered: {there}")
        return found[-1]

    def fetch(self, version: RegisteredVersion, out: Path) -> None:
        """Write a version's archive to ``out``, once its digest and signature are found to be what they were.

        Raises
        ------
        RegistryRefused
            What is stored is another archive, was altered, or its key is not trusted any more; ``out`` is as before.
        """
        what = f"the archive of {version.model} {version.version}"
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetched-", dir=out.parent) as folder:
            with typed_errors(self._tracking, what):
                found = Path(self._client.download_artifacts(version.run_id, version.archive, folder))
            try:
                with self._examine(found) as copy:
                    if (copy.model, copy.version) != (version.model, version.version):
                        raise RegistryRefused(f"{self.store}: {what} expected, was {copy.model} {copy.version}")
                    self._compared(version, copy.digest)
            except Untrusted as error:
                raise RegistryRefused(f"{self.store}: {what}: {error}") from error
            found.replace(out)

    def label(self, version: RegisteredVersion, alias: str) -> None:
        """Set an alias, and take from the version those that do not go with it. Changes no server."""
        model, number = version.model, str(version.number)
        gone = {PRODUCTION: (STAGING, ARCHIVED), STAGING: (ARCHIVED,), ARCHIVED: (STAGING, PRODUCTION)}[alias]
        with typed_errors(self._store, f"alias {alias} of {model} {version.version}"):
            if alias == ARCHIVED:  # MLflow's alias points to one version, the tag is on all of them
                self._client.set_model_version_tag(model, number, ARCHIVED, now())
            elif version.archived is not None:
                self._client.delete_model_version_tag(model, number, ARCHIVED)
            self._client.set_registered_model_alias(model, alias, number)
            held = self._client.get_registered_model(model).aliases
            for each in gone:
                if str(held.get(each)) == number:
                    self._client.delete_registered_model_alias(model, each)

    def _examine(self, archive: Path) -> AbstractContextManager[ExaminedArchive]:
        return examined(archive, self._trusted, self._allow_unsigned)

    def _same(self, archive: ExaminedArchive) -> RegisteredVersion | None:
        for each in self.versions(archive.model):
            if each.version == archive.version:
                return self._compared(each, archive.digest)
        return None

    def _compared(self, version: RegisteredVersion, digest: str) -> RegisteredVersion:
        if version.digest != digest:
            raise RegistryRefused(
                f"{version.model} {version.version}: digest {version.digest[:12]} expected, as it was registered on "
                f"{version.registered}, was {digest[:12]}: other content needs another version"
            )
        return version

    def _training(self, run: Path, said: bytes, archive: Path) -> str | None:
        """MLflow's id of the training that wrote a run folder; None where MLflow does not know it (any more)."""
        if not (run / _DESCRIPTION).is_file() or (run / _DESCRIPTION).read_bytes() != said:
            raise RegistryRefused(f"{run}: the run that {archive} was built from expected, its {_DESCRIPTION} differs")
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
            _log.warning("%s: run %s of %s expected, was %s there", shown(self._tracking), run_id, run, state)
        return run_id if state == "active" else None

    def _keep(self, archive: ExaminedArchive, tags: dict[str, str], trained_by: str | None) -> str:
        """Keep the archive with the run that trained it, or with a new one; the run's id."""
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
            made = self._client.create_model_version(model, f"runs:/{run_id}/{tags['archive']}", run_id, tags)
        return int(made.version)


def _all_pages(search: Callable[..., Any], only: str | None = None) -> list[Any]:
    """All that a search finds, however many answers that takes."""
    found = search(only)
    pages = [found]
    while found.token:
        found = search(only, page_token=found.token)
        pages.append(found)
    return [each for page in pages for each in page]
