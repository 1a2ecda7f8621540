"""Training runs in MLflow: parameters, the curve of every fold, results, files.

By default they go into ``mlflow.db`` (SQLite) beside the run folders, files under
``mlflow-artifacts/``; with MLFLOW_TRACKING_URI set, to that server. Nothing here touches MLflow's
own global state (its active run, its tracking URI), and nothing is sent to MLflow's makers.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nautilus_torchserve.mlflow_store import (
    TrackingFailed,
    experiment_id,
    fail_fast,
    open_store,
    redact,
    tracking_store,
    typed_errors,
)

if TYPE_CHECKING:  # MLflow takes more than a second to import
    from mlflow import MlflowClient
    from mlflow.entities import Run

LONGEST_PARAMETER = 6000
"""Characters that MLflow keeps of a parameter's value; it would cut the rest away."""
LONGEST_TAG = 8000
"""Characters that MLflow keeps of a tag's value."""

_log = logging.getLogger(__name__)


class TrackedRun:
    """One training run in the store, opened by `track`."""

    def __init__(self, client: "MlflowClient", run: "Run", store: str) -> None:
        self.run_id: str = run.info.run_id
        """MLflow's id of the run, by which an interrupted run is continued."""
        self._client = client
        self._store = store
        self._kept = {
            (key, metric.step) for key in run.data.metrics for metric in client.get_metric_history(self.run_id, key)
        }

    def epoch(self, fold: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log an epoch's values as ``fold_<fold>/<name>`` at step ``epoch``, all at once.

        What an interrupted run had logged of that epoch stays; it does not appear twice.
        """
        named = {f"fold_{fold}/{name}": value for name, value in metrics.items()}
        fresh = {key: value for key, value in named.items() if (key, epoch) not in self._kept}
        if not fresh:
            return
        self._log_metrics(fresh, epoch)
        self._kept |= {(key, epoch) for key in fresh}

    def metrics(self, metrics: Mapping[str, float]) -> None:
        """Log values of the whole run; the latest under a name counts."""
        self._log_metrics(metrics, step=0)

    def tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; an existing tag is replaced."""
        from mlflow.entities import RunTag

        with typed_errors(self._store, "tags"):
            entries = [RunTag(key, _cut(value, LONGEST_TAG)) for key, value in tags.items()]
            self._client.log_batch(self.run_id, tags=entries)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file, or all files of a folder, into the run's artifacts (or a folder of them)."""
        with typed_errors(self._store, f"artifact {path}"):
            if path.is_dir():
                self._client.log_artifacts(self.run_id, str(path), folder)
            else:
                self._client.log_artifact(self.run_id, str(path), folder)

    def _log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now_ms = time.time_ns() // 1_000_000
        with typed_errors(self._store, "metrics"):
            entries = [Metric(key, float(value), now_ms, step) for key, value in metrics.items()]
            self._client.log_batch(self.run_id, metrics=entries)


@contextmanager
def track(
    runs: Path,
    experiment: str,
    name: str,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    run_id: str | None = None,
) -> Iterator[TrackedRun]:
    """Track what happens inside as one run, which ends FINISHED, FAILED (an exception) or KILLED (an interrupt).

    Parameters
    ----------
    runs : Path
        Folder of run folders; the default store is made there.
    experiment, name : str
        What MLflow groups runs by, and what it shows for this one.
    params : mapping
        Nested mappings become dotted names (``fit.learning_rate``), what is not a string is
        written as JSON. Of a longer value than `LONGEST_PARAMETER` the beginning is kept, with the
        SHA-256 of the whole.
    tags : mapping
        Such as the commit and the data's hash.
    run_id : str, optional
        Of an interrupted run to continue. Where the store has no such run a new one begins, with a
        warning.

    Raises
    ------
    TrackingFailed
        Before anything inside has run: the store cannot be opened, or the interrupted run had
        other parameters. Inside: the store rejects a value.
    """
    store = tracking_store(runs)
    flat = {name: _as_text(value) for name, value in flatten(params).items()}
    with typed_errors(store, f"experiment {experiment!r}"), fail_fast():
        client = open_store(store)
        run = _resume(client, store, run_id, flat)
        if run is None:
            run = client.create_run(experiment_id(client, store, experiment), run_name=name)
    try:
        with typed_errors(store, "parameters"), fail_fast():
            _keep_params(client, run, flat)
            tracked = TrackedRun(client, run, store)
            tracked.tags(tags)
        yield tracked
    except BaseException as error:
        _end_after(error, client, store, run.info.run_id)
        raise
    with typed_errors(store, "the end of the run"):
        client.set_terminated(tracked.run_id, "FINISHED")


def flatten(params: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested parameters by dotted names."""
    flat: dict[str, object] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _as_text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return _cut(text, LONGEST_PARAMETER)


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    ending = f"... ({len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()})"
    return text[: longest - len(ending)] + ending


def _resume(client: "MlflowClient", store: str, run_id: str | None, params: Mapping[str, str]) -> "Run | None":
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        run = None
    if run is None or run.info.lifecycle_stage != "active":
        state = "unknown there" if run is None else "deleted there"
        _log.warning("%s: cannot continue run %s, which is %s; a new one begins", redact(store), run_id, state)
        return None
    for key, kept in run.data.params.items():
        if params.get(key, kept) != kept:
            raise TrackingFailed(f"{redact(store)}: run {run_id}: expected {key} = {kept}, got {params[key]}")
    client.update_run(run_id, status="RUNNING")
    return run


def _keep_params(client: "MlflowClient", run: "Run", params: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    kept = run.data.params  # incomplete where the run was interrupted right here
    client.log_batch(run.info.run_id, params=[Param(key, value) for key, value in params.items() if key not in kept])


def _end_after(error: BaseException, client: "MlflowClient", store: str, run_id: str) -> None:
    """Record how the run ended; the error itself matters more than a store that fails here."""
    status = "FAILED" if isinstance(error, Exception) else "KILLED"
    try:
        with typed_errors(store, f"{status} as the end of run {run_id}"):
            client.set_terminated(run_id, status)
    except TrackingFailed as failure:
        _log.warning("%s", failure)
