"""A model of the inference core: decoded requests to named float32 outputs, bit for bit the same in any batch."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nautilus_torchserve.inference.explain.integrate import TimeLimit, check_count, explain_each, float64_copy
from nautilus_torchserve.inference.model_files import (
    GOLDEN,
    BadArchive,
    import_named,
    read_description,
    read_golden,
    read_schema,
)
from nautilus_torchserve.inference.tiles import BASE_TILES, LARGE_TILES, RowNetwork
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire import body
from nautilus_torchserve.wire.body import DecodedRequest
from nautilus_torchserve.wire.digest import folder_digest
from nautilus_torchserve.wire.errors import OutputNotFinite, OutputOutOfRange
from nautilus_torchserve.wire.news_windows import MAX_CHARACTERS
from nautilus_torchserve.wire.output_constraints import OutputConstraints


class InferenceModel(ABC):
    """One version of a model, loaded from its unpacked archive and proved to give its golden outputs.

    It knows neither TorchServe nor HTTP: `worker` serves it, and ``mar:`` clients call it in their own process. A
    subclass loads what it computes with, decodes requests, computes and explains; the networks are built by the
    modules that ``model.json`` names.

    Parameters
    ----------
    folder : Path
        The unpacked archive.
    version : str
        The model version of its manifest.
    gpu_id : int or None, default 0
        The GPU to compute on, where the machine has one; None: the CPU.
    max_characters : int
        Most characters of all texts of one request.

    Raises
    ------
    BadArchive
        Something is missing, or the golden outputs come out different.
    UnsupportedDevice
        torch has no kernels for the GPU.
    """

    output_names: tuple[str, ...]
    """Names of the columns of a table of outputs, in order."""
    constraints = OutputConstraints()
    """Ranges of outputs, and which of them sum to 1; clients refuse answers outside of them."""
    inputs: str
    """What a request holds: ``rows``, ``texts``, or ``windows and texts``."""
    explained: tuple[str, ...]
    """Outputs that can be explained."""
    explain_s: float = 0.5
    """Longest time for all explanations of a batch, whose predictions, and all that wait for the worker, wait for
    them."""
    explain_alone_s: float = 2.0
    """The same in a registration for explanations alone (`inference.explain.integrate.ALONE`), and of one call in
    process; well below ``responseTimeout`` of the archive."""
    max_explained: int = 8
    """Most rows, texts or windows to explain in one request."""
    max_explained_bytes: int = 1 << 18
    """Length of a request's body above which it is refused unread; well above that of `max_explained`."""

    def __init__(
        self, folder: Path, version: str, gpu_id: int | None = 0, max_characters: int = MAX_CHARACTERS
    ) -> None:
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("highest")  # what TorchServe imports may have allowed TF32 on CUDA
        self.device = choose_device(gpu_id)
        self.description = read_description(folder)
        self.schema = read_schema(self.description)
        self.version, self.digest = version, folder_digest(folder)
        self.max_characters = max_characters
        self.tile_sizes = self.load(folder)
        golden = read_golden(folder)
        outputs = self.compute([self.golden_request(golden.inputs)])
        golden.verify(dict(zip(self.output_names, outputs.T, strict=True)))
        self._check_constraints(outputs)
        self.golden_columns = self.columns(outputs[:1])

    @abstractmethod
    def load(self, folder: Path) -> tuple[int, ...]:
        """Load from the unpacked archive to `device`, prove invariance, and return the sizes of the tiles used."""

    @abstractmethod
    def decode(self, content: object, content_type: str | None) -> DecodedRequest:
        """Decode and check one request's body; raise `RequestError`."""

    @abstractmethod
    def validate(self, inputs: Any) -> DecodedRequest:
        """Check inputs that a caller in this process holds as objects, as `decode` does a body."""

    @abstractmethod
    def golden_request(self, inputs: Mapping[str, NDArray[Any]]) -> DecodedRequest:
        """Return the request that ``golden.npz`` holds."""

    @abstractmethod
    def compute(self, requests: Sequence[Any]) -> NDArray[np.float32]:
        """Compute all rows of several requests, one after the other: float32 [n, len(output_names)]."""

    @abstractmethod
    def explain(self, request: Any, output: str | None, until_s: float) -> list[dict[str, Any]]:
        """Attribute an output to the inputs of each row of a request, in plain JSON types.

        Parameters
        ----------
        request : DecodedRequest
            From `decode` or `validate`.
        output : str or None
            One of `explained`; None: the model's own choice.
        until_s : float
            `time.perf_counter` by which to come to an end.

        Raises
        ------
        NotExplained
            There is no such output, or there is too much to explain.
        """

    def columns(self, table: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        """Return a request's table of outputs as its JSON answer shows it."""
        return dict(zip(self.output_names, table.T, strict=True))

    def predict(self, inputs: Any) -> NDArray[np.float32]:
        """Compute the outputs of what `validate` takes, for a caller in this process.

        Returns
        -------
        float32 [n, len(output_names)]

        Raises
        ------
        OutputNotFinite
            Of the first row concerned.
        RequestError
            Inputs that the model refuses.
        """
        table = self.compute([self.validate(inputs)])
        self.check_finite(table)
        return table

    def explanations(self, inputs: Any, output: str | None = None) -> list[dict[str, Any]]:
        """Explain what `validate` takes, as `explain` does, for a caller in this process.

        Raises
        ------
        RequestError
            Inputs that the model refuses, or an output that it does not explain.
        """
        return self.explain(self.validate(inputs), output, time.perf_counter() + self.explain_alone_s)

    def check_finite(self, table: NDArray[np.float32]) -> None:
        """Raise `OutputNotFinite` for the first output that is NaN or infinite."""
        if not np.isfinite(table).all():
            row, column = np.argwhere(~np.isfinite(table))[0].tolist()
            name, value = self.output_names[column], table[row, column]
            raise OutputNotFinite(f"expected finite {name!r} for row {row}, got {value}")

    def metadata(self) -> dict[str, Any]:
        """Return what clients check when they connect: ``model.json`` and what loading it showed."""
        return {
            **self.description,
            "version": self.version,
            "archive_digest": self.digest,
            "feature_schema_sha256": self.schema.sha256,
            "inputs": self.inputs,
            "outputs": list(self.output_names),
            "output_constraints": self.constraints.to_dict(),
            "explained_outputs": list(self.explained),
            "batch_invariant": True,  # the probe has passed, or the model would not be loaded
            "tile_rows": list(self.tile_sizes),
            "device": str(self.device),
            "worker_torch": torch.__version__,
        }

    def _check_constraints(self, outputs: NDArray[np.float32]) -> None:
        """Raise `BadArchive` for golden outputs outside of the constraints: clients would refuse every answer."""
        unknown = self.constraints.names.difference(self.output_names)
        try:
            if unknown:
                raise BadArchive(f"expected constraints of {', '.join(self.output_names)}, got {min(unknown)}")
            self.constraints.check_table(outputs, self.output_names)
        except (OutputNotFinite, OutputOutOfRange) as error:
            raise BadArchive(f"{GOLDEN}: the model's own constraints: {error}") from error


class RowModel(InferenceModel):
    """Rows of the schema's shape to outputs.

    A subclass computes outputs from rows, explains a row and, where not every finite row has a meaning, refuses some.
    """

    inputs = "rows"
    base_tiles: tuple[int, ...] = BASE_TILES
    """Smallest tiles to try, in order of preference: see `inference.tiles.probe`."""
    large_tiles: tuple[int, ...] = LARGE_TILES
    """Larger tiles to try for many rows at once."""

    @abstractmethod
    def forward(self, network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        """Turn rows, float32 [tile, *row_shape], into outputs, float32 [tile, len(output_names)].

        Runs inside a tile, on `device`, with rows of several requests side by side.
        """

    @abstractmethod
    def explain_row(
        self, network: nn.Module, row: NDArray[np.float32], output: str | None, limit: TimeLimit
    ) -> dict[str, Any]:
        """Explain one row with the network in float64; see `explain`."""

    def check(self, request: body.RowRequest) -> None:
        """Raise a `RequestError` where a request's rows, finite and of the right shape, have no meaning."""

    def load(self, folder: Path) -> tuple[int, ...]:
        self.rows = RowNetwork(folder, self.forward, self.device, self.base_tiles, self.large_tiles)
        return self.rows.tiles.sizes

    def decode(self, content: object, content_type: str | None) -> body.RowRequest:
        request = body.decode(content, content_type, self.schema.row_shape)
        self.check(request)
        return request

    def validate(self, inputs: NDArray[np.float32]) -> body.RowRequest:
        request = body.RowRequest(inputs)
        self.check(request)
        return request

    def golden_request(self, inputs: Mapping[str, NDArray[Any]]) -> body.RowRequest:
        return self.validate(inputs["rows"])

    def compute(self, requests: Sequence[body.RowRequest]) -> NDArray[np.float32]:
        batches = [request.rows for request in requests]
        return self.rows.compute(batches[0] if len(batches) == 1 else np.concatenate(batches))

    def explain(self, request: body.RowRequest, output: str | None, until_s: float) -> list[dict[str, Any]]:
        check_count(len(request), self.max_explained, "rows")
        network = float64_copy(self.rows.network)
        rows = list(request.rows)
        return explain_each(lambda row, limit: self.explain_row(network, row, output, limit), rows, "rows", until_s)


def load_model(
    folder: Path, version: str, gpu_id: int | None = 0, max_characters: int = MAX_CHARACTERS
) -> InferenceModel:
    """Load the model of the class that ``model.json`` names as ``inference``; see `InferenceModel`."""
    model_class: type[InferenceModel] = import_named(read_description(folder).get("inference"))
    return model_class(folder, version, gpu_id, max_characters)


class UnsupportedDevice(UserError):
    """This torch has no kernels for the GPU."""


def choose_device(gpu_id: int | None) -> torch.device:
    """Return the GPU of this number, where there is one; else the CPU.

    Raises
    ------
    UnsupportedDevice
        While loading instead of with a CUDA error at the first request.
    """
    if gpu_id is None or not torch.cuda.is_available():
        return torch.device("cpu")
    capability = torch.cuda.get_device_capability(gpu_id)
    if not has_kernels(capability, torch.cuda.get_arch_list()):
        raise UnsupportedDevice(
            f"{torch.cuda.get_device_name(gpu_id)} (compute capability {capability[0]}.{capability[1]}): expected "
            f"kernels in torch {torch.__version__}, got those for {', '.join(torch.cuda.get_arch_list())}"
        )
    return torch.device(f"cuda:{gpu_id}")


def has_kernels(capability: tuple[int, int], arch_list: list[str]) -> bool:
    """Return whether code built for these architectures runs on a card of this compute capability.

    ``sm_XY`` is machine code: it runs on the same major version with an equal or higher minor
    one. ``compute_XY`` is PTX, compiled by the driver for any later card (CUDA C++ Programming
    Guide, "Application Compatibility").
    """
    for arch in arch_list:
        kind, _, digits = arch.partition("_")
        number = digits.rstrip("af")  # sm_90a: for that architecture's own features
        major, minor = int(number[:-1]), int(number[-1])
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
        if kind == "compute" and (major, minor) <= capability:
            return True
    return False
