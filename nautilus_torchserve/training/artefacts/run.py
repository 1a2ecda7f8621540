"""Run folders of files that others wrote: an archive is built from them as from a training of ours."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.features.schema import Column, FeatureSchema
from nautilus_torchserve.inference.model_files import BadArchive
from nautilus_torchserve.models.spec import GOLDEN, ModelSpec
from nautilus_torchserve.training.artefacts.kinds import recognise
from nautilus_torchserve.training.artefacts.written import Written
from nautilus_torchserve.training.runs.proof import check_rows_alone, write_model
from nautilus_torchserve.training.runs.save import describe_model, golden_inputs
from nautilus_torchserve.user_error import InvalidArgument, UserError

TEXTS = (
    "Profit rose by a third in the last quarter.",
    "The company expects a loss for the full year.",
    "The annual meeting takes place on the tenth of May.",
    "Shares fell after the regulator opened an inquiry.",
)
"""Golden inputs of a model of texts where the user passes none."""


@dataclass(frozen=True)
class Interface:
    """What a file does not say of its model: given by a spec, or by these names."""

    name: str | None = None
    """Name of the model; None: that of the spec."""
    spec: ModelSpec | None = None
    """The spec."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs, where there is no spec."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a row, where there is no spec; empty: ``x0``, ``x1``, ..."""
    activation: str | None = None
    """``softmax`` or ``sigmoid``, where there is no spec and the file's outputs are logits."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the default configuration of the spec's network."""


def write_artefact_run(
    path: Path, folder: Path, interface: Interface, inputs: NDArray[Any] | Sequence[str] | None = None
) -> dict[str, Any]:
    """Write the run folder of a trained model in a file, of which nothing is run but the network itself.

    Parameters
    ----------
    path : Path
        A file or folder of one of the kinds of `training.artefacts.kinds.ARTEFACTS`.
    folder : Path
        The run folder, which exists and is empty.
    inputs : float32 [n, *row_shape], or sequence of str, optional
        Inputs to choose golden ones from; default: random numbers, or four sentences.

    Returns
    -------
    dict
        ``model.json``.

    Raises
    ------
    InvalidArgument
        It is of no kind, or what it does not say of its model is not given.
    BadWeights, BadBackbone, BadArchive
        It cannot be read, does not fit the network, or does not compute the outputs.
    """
    spec = interface.spec
    name = spec.name if spec is not None and interface.name is None else interface.name
    if name is None:
        raise InvalidArgument(f"{path}: expected --name NAME, or --spec FILE, got neither")
    kind = recognise(path)
    if interface.settings and spec is None:
        raise InvalidArgument("expected --spec FILE with --set, which changes its network's configuration, got none")
    written = kind.write(path, folder, spec, interface.settings)
    schema = _schema(path, name, written, interface, inputs)
    outputs, activation = _outputs(path, written, interface)
    rule = GOLDEN if spec is None else spec.golden
    golden = golden_inputs(_default_inputs(schema, rule.inputs) if inputs is None else inputs, schema, rule)
    description = describe_model(
        name,
        schema,
        outputs,
        activation,
        written.inference if spec is None or written.outputs else spec.inference,
        written.network,
        files=list(written.files),
        artefact={"kind": kind.name, "file": path.name, "sha256": _sha256(path)},
        **written.facts,
    )
    try:
        model = write_model(folder, description, {}, None, golden, rule.tolerance)
        check_rows_alone(model, golden, rule.tolerance)
    except UserError as error:
        reason = f"{error}".replace(f"{folder}/", "")
        remedy = (
            ": pass typical inputs with --inputs FILE, if the weights are finite"
            if inputs is None and "finite" in reason
            else ""
        )
        raise BadArchive(f"{path}: {reason}{remedy}") from None
    return description


def _schema(
    path: Path, name: str, written: Written, interface: Interface, inputs: NDArray[Any] | Sequence[str] | None
) -> FeatureSchema:
    """Return the features of a model."""
    if written.schema is not None:
        return written.schema
    if interface.spec is not None:
        schema: FeatureSchema = interface.spec.features.load_schema()
        if written.row_shape not in (None, schema.row_shape):
            raise BadArchive(
                f"{path}: expected rows of shape {list(schema.row_shape)}, as {schema.name} has them, got a program "
                f"for {list(written.row_shape or ())}"
            )
        return schema
    row_shape = written.row_shape
    if row_shape is None and isinstance(inputs, np.ndarray):
        row_shape = inputs.shape[1:]
    if row_shape is None and interface.columns:
        row_shape = (len(interface.columns),)
    if row_shape is None:
        raise InvalidArgument(
            f"{path}: expected --columns NAMES, --inputs FILE or --spec FILE, got none: the file does "
            "not tell how many columns a row has"
        )
    if len(row_shape) not in (1, 2):
        raise InvalidArgument(
            f"{path}: expected rows [columns] or windows [time_steps, columns], got {list(row_shape)}"
        )
    columns = interface.columns or tuple(f"x{number}" for number in range(row_shape[-1]))
    if len(columns) != row_shape[-1]:
        raise InvalidArgument(
            f"{path}: expected {row_shape[-1]} --columns, got {len(columns)}: {', '.join(columns):.100}"
        )
    time_steps = row_shape[0] if len(row_shape) == 2 else None
    return FeatureSchema(f"{name}/1", tuple(Column(column, "1") for column in columns), time_steps or 1, time_steps)


def _outputs(path: Path, written: Written, interface: Interface) -> tuple[tuple[str, ...], str | None]:
    """Return the names of the outputs, and the activation."""
    spec = interface.spec
    given = interface.outputs if spec is None else tuple(output.name for output in spec.outputs)
    if written.outputs:
        if interface.columns or interface.activation:
            raise InvalidArgument(
                f"{path}: expected neither --columns nor --activation, as its config.json tells both, got one"
            )
        if given and set(given) != set(written.outputs):
            raise InvalidArgument(
                f"{path}: expected outputs {', '.join(written.outputs):.100}, as its config.json names them, got "
                f"{', '.join(given):.100}"
            )
        return written.outputs, written.activation
    if not given:
        raise InvalidArgument(f"{path}: expected --outputs NAMES or --spec FILE, got neither")
    if len(set(given)) != len(given):
        raise InvalidArgument(f"expected --outputs of different names, got {', '.join(given):.100}")
    return given, interface.activation if spec is None else spec.activation


def _default_inputs(schema: FeatureSchema, count: int) -> NDArray[np.float32] | Sequence[str]:
    if schema.dtype == "string":
        return TEXTS
    return np.random.default_rng(0).standard_normal((count, *schema.row_shape), dtype=np.float32)


def _sha256(path: Path) -> str:
    """Return the hash of a file, or of all files of a folder by their names."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file()):
        with file.open("rb") as content:
            digest.update(f"{file.name}\n{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
