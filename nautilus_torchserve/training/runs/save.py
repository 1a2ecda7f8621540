"""Run folders from a training loop of one's own."""

import hashlib
import json
import math
import operator
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.inference.model_files import BadArchive
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.price_sketch import fit_record
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.models.spec import GoldenRule, ModelSpec, Network, load_object
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.training.runs.proof import check_same, write_model
from nautilus_torchserve.training.runs.result import (
    BadRunFolder,
    TrainingResult,
    check_replaceable,
    describe_run,
    golden_places,
    hash_inputs,
    market_facts,
    no_artifacts,
    replace_run,
    track_result,
    track_training,
    working_folder,
)
from nautilus_torchserve.user_error import InvalidArgument, describe

NO_EDGE = "Not compared with baselines: these metrics are those of its own training."


def save_run(
    network: nn.Module,
    spec: ModelSpec | str | Path,
    folder: str | Path,
    inputs: ArrayLike | Sequence[str],
    *,
    config: object = None,
    data: Trades | Bars | str | Path | None = None,
    fitted: tuple[int, int] | None = None,
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, object] | None = None,
    seed: int | None = None,
) -> TrainingResult:
    """Write the run folder of a network that you have trained, which is packed, tracked and rolled out like any other.

    The network is built again from its configuration, loaded as a worker loads it, and must give the outputs of the
    one passed. The folder takes its place at the end, or everything is left as it was.

    Parameters
    ----------
    network : nn.Module
        The trained network, on any device; its mode (training or evaluation) is left as it is.
    spec : ModelSpec, str or Path
        Its spec, or what `models.table.spec_of` finds it by: ``model_defs/my_model.py``.
    folder : str or Path
        The run folder, ``runs/momentum``; an earlier run there is replaced.
    inputs : array_like [n, *row_shape], or sequence of str
        Inputs that the network was not fitted on, in the order of time: golden inputs of the archive are chosen from
        them, evenly spread. Numbers are cast to float32, which requests hold.
    config : dataclass or dict, optional
        Configuration that the network was built with; default: its attribute ``config``, else the default of the
        spec's first network.
    data : Trades, Bars, str or Path, optional
        Data of the fit, or their file: the archive records their hash, and of loaded ones a sketch of their prices, by
        which a backtest tells whether it runs in sample.
    fitted : tuple of int, optional
        Time of the first and of the last event that the fit saw (Unix ns); default: all loaded data.
    metrics : mapping, optional
        Name -> value, of your own evaluation; one that is not finite is saved as unknown.
    params : mapping, optional
        Parameters of the fit: the run is tracked with them and ``metrics`` in MLflow; default: it is not tracked.
    seed : int, optional
        Seed of the fit.

    Raises
    ------
    InvalidArgument
        The spec, the configuration or the inputs do not fit the network.
    BadArchive
        The network does not compute the spec's outputs, or not the same ones when it is built again.
    BadRunFolder
        ``folder`` holds something that is not a run, or cannot be written.
    TrackingFailed
        The MLflow store does not open, or does not take a value.
    """
    spec = spec if isinstance(spec, ModelSpec) else spec_of(spec)
    out = Path(folder).expanduser().resolve()
    check_replaceable(out, spec)
    network = _unwrapped(network)
    entry, values = _configuration(spec, network, config)
    schema = spec.features.load_schema(**entry.schema)
    golden = golden_inputs(inputs, schema, spec.golden)
    facts = data_facts(data, fitted)
    numbers = _numbers(metrics or {})
    description = describe_model(
        spec.name,
        schema,
        [output.name for output in spec.outputs],
        spec.activation,
        spec.inference,
        {"module": entry.module, "config": values},
        seed=seed,
        metrics={**numbers, "edge": NO_EDGE},
        **facts,
    )
    evaluation = {"metrics": numbers, "edge": NO_EDGE}
    working = working_folder(out)
    shutil.rmtree(working, ignore_errors=True)
    try:
        model = write_model(working, description, evaluation, network, golden, spec.golden.tolerance)
        check_same(model, network, golden, spec.golden.tolerance)
    except BaseException as error:
        shutil.rmtree(working, ignore_errors=True)
        if isinstance(error, BadArchive):
            raise BadArchive(f"{error}".replace(f"{working}/", "")) from None
        if isinstance(error, OSError):
            raise BadRunFolder(f"{out}: expected a folder that can be written: {describe(error)}") from None
        raise
    result = TrainingResult(out, description, evaluation)
    if params is None:
        replace_run(working, out)
        return result
    digest = hash_inputs(description, *(values.tobytes().hex() for values in golden.values()))
    tags = {f"data.{name}": str(value) for name, value in facts.get("training", {}).items() if name != "prices"}
    with track_training(out, spec.name, params, tags, digest) as tracked:
        replace_run(working, out)
        track_result(tracked, result, numbers, no_artifacts)
    return TrainingResult(out, description, evaluation, mlflow_run_id=tracked.run_id)


def _numbers(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Return metrics as JSON has them, None where one is not finite."""
    try:
        values = {str(name): float(value) for name, value in dict(metrics).items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidArgument(f"expected metrics as numbers by their names: {error}") from None
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def describe_model(
    name: str,
    schema: FeatureSchema,
    outputs: Sequence[str],
    activation: str | None,
    inference: str,
    network: Mapping[str, Any],
    seed: int | None = None,
    **parts: Any,
) -> dict[str, Any]:
    """Return the content of ``model.json`` of a model that `inference.model.load_model` loads."""
    return describe_run(
        name,
        seed,
        network=network,
        feature_schema=schema.to_dict(),
        outputs=list(outputs),
        activation=activation,
        inference=inference,
        **parts,
    )


def golden_inputs(
    inputs: ArrayLike | Sequence[str], schema: FeatureSchema, rule: GoldenRule
) -> dict[str, NDArray[Any]]:
    """Return the golden inputs: those of the rule's number, evenly spread.

    Raises
    ------
    InvalidArgument
        They are not finite rows of the schema's shape, or not texts.
    """
    if schema.dtype == "string":
        if not isinstance(inputs, Sequence) or not inputs or not all(isinstance(text, str) for text in inputs):
            raise InvalidArgument(f"expected inputs as a list of texts, got {type(inputs).__name__}")
        return {"texts": np.array([inputs[place] for place in golden_places(len(inputs), rule)])}
    try:
        values = np.asarray(inputs.detach().cpu().float() if torch.is_tensor(inputs) else inputs)
        if values.dtype.kind not in "fiubO" or np.ma.is_masked(inputs):
            raise TypeError(f"got {'masked values' if np.ma.is_masked(inputs) else values.dtype}")
        with np.errstate(over="ignore"):  # what float32 does not hold is refused below
            rows = values.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"expected inputs as an array of numbers: {error}") from None
    if rows.shape[1:] != schema.row_shape or not len(rows):
        expected = ", ".join(map(str, ("n", *schema.row_shape)))
        raise InvalidArgument(
            f"expected inputs of shape [{expected}], as {schema.name} has them, got {list(rows.shape)}"
        )
    if not np.isfinite(rows).all():
        at = np.argwhere(~np.isfinite(rows))[0]
        raise InvalidArgument(
            f"expected finite inputs, got {rows[tuple(at)]} in column {schema.columns[at[-1]].name} of row {at[0]}"
        )
    return {"rows": np.ascontiguousarray(rows[golden_places(len(rows), rule)])}


def data_facts(data: Trades | Bars | str | Path | None, fitted: tuple[int, int] | None) -> dict[str, Any]:
    """Return ``training`` and ``fits`` of ``model.json``: the data's hash and the period of the fit."""
    try:
        first_last = None if fitted is None else tuple(map(operator.index, fitted))
    except TypeError:
        first_last = ()
    if first_last is not None and (len(first_last) != 2 or not 0 <= first_last[0] <= first_last[1]):
        raise InvalidArgument(f"expected fitted as the first and the last time in Unix ns, got {fitted!r:.100}")
    period = {} if first_last is None else {"first_ts_event": first_last[0], "last_ts_event": first_last[1]}
    if data is None:
        return {"training": period, "fits": [period]} if period else {}
    if isinstance(data, str | Path):
        try:
            with Path(data).open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InvalidArgument(f"{data}: expected the file of the data: {error.strerror}") from None
        record = {"source": os.fspath(data), "sha256": sha256, **period}
        return {"training": record, "fits": [record]}
    if not isinstance(data, Trades | Bars):
        raise InvalidArgument(f"expected data as Trades, Bars or their file, got {type(data).__name__}")
    first, last = first_last or (int(data.ts_event[0]), int(data.ts_event[-1]))
    record = fit_record(data, first, last)
    return {
        "training": {**market_facts(data), "first_ts_event": first, "last_ts_event": last},
        "fits": [record],
    }


def _configuration(spec: ModelSpec, network: nn.Module, config: object) -> tuple[Network, dict[str, Any]]:
    """Return which of the spec's networks it is, and its configuration in plain JSON types."""
    if not spec.networks:
        raise InvalidArgument(f"{spec.name}: expected a spec with networks, got one without")
    own = getattr(network, "config", None) if config is None else config
    for entry in spec.networks:
        if isinstance(own, load_object(entry.config)):
            return entry, _plain(asdict(own))
    entry = spec.networks[0]
    if isinstance(config, Mapping):
        return entry, _plain(dict(config))
    if config is not None:
        names = ", ".join(entry.config for entry in spec.networks)
        raise InvalidArgument(f"expected config as {names} or a dict, got {type(config).__name__}")
    try:
        return entry, _plain(asdict(load_object(entry.config)()))
    except TypeError:
        raise InvalidArgument(
            f"expected config=, the {entry.config} that the network was built with, got none"
        ) from None


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(values, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"expected a config of plain JSON types: {error}") from None


def _unwrapped(network: nn.Module) -> nn.Module:
    """Return the network inside of wrappers: of torch.compile, of parallel training, and of averaging."""
    while isinstance(network, nn.Module):
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel | AveragedModel):
            network = network.module
        elif isinstance(compiled := getattr(network, "_orig_mod", None), nn.Module):
            network = compiled
        else:
            break
    if not isinstance(network, nn.Module):
        raise InvalidArgument(f"expected network as a torch.nn.Module, got {type(network).__name__}")
    for name, value in network.state_dict().items():
        if not torch.is_tensor(value) or is_lazy(value) or value.is_meta:
            raise InvalidArgument(f"expected a network whose state_dict has tensors with values alone, got {name}")
    return network
