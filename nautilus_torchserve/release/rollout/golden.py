"""Golden requests: a registered version must give the golden outputs of its archive."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.inference.model_files import GOLDEN, BadArchive, Golden, parse_golden
from nautilus_torchserve.release.rollout.gates import GateFailed
from nautilus_torchserve.serving.client.archive_file import open_archive
from nautilus_torchserve.serving.client.client import InferenceClient, PredictionResponse
from nautilus_torchserve.serving.client.inputs import Inputs
from nautilus_torchserve.wire.news_windows import NewsWindow


def read_archived_golden(archive: Path) -> Golden:
    """Return the golden inputs and outputs of an archive; raises `GateFailed` where it has none that can be sent."""
    with open_archive(archive) as members:
        if GOLDEN not in members.namelist():
            raise GateFailed(
                f"{archive}: expected an archive with {GOLDEN}, got one without: pack it with nautilus-torchserve pack"
            )
        content = io.BytesIO(members.read(GOLDEN))  # in memory: a rollback needs no free space
    try:
        golden = parse_golden(content, GOLDEN)
        golden_inputs(golden)
    except (BadArchive, KeyError, TypeError, ValueError) as error:
        raise GateFailed(f"{archive}: expected golden inputs that can be sent to a model: {error}") from None
    return golden


def golden_inputs(golden: Golden) -> Inputs:
    """Return the golden inputs in the form that clients take."""
    if "rows" not in golden.inputs:
        return [str(text) for text in golden.inputs["texts"]]
    rows: NDArray[np.float32] = golden.inputs["rows"]
    if "texts" not in golden.inputs:
        return rows
    windows, begin = [], 0
    for row, count in zip(rows, golden.inputs["counts"].tolist(), strict=True):
        texts, ages = (golden.inputs[name][begin : begin + count].tolist() for name in ("texts", "ages_s"))
        windows.append(NewsWindow(row, tuple(texts), tuple(ages)))
        begin += count
    return windows


def predict_golden(client: InferenceClient, golden: Golden, version: str, digest: str) -> PredictionResponse:
    """Send all golden inputs, and return the response once it is found to be of this version and this archive.

    Raises
    ------
    GateFailed
        Another version or archive responded.
    RequestError
        There was no response.
    """
    response = client.predict(golden_inputs(golden))
    if response.version != version:
        raise GateFailed(f"expected a response of version {version}, got one of {response.version}")
    if response.digest != digest:
        raise GateFailed(f"expected a response of archive {digest}, got one of {response.digest}")
    return response


def check_parity(response: PredictionResponse, golden: Golden) -> float:
    """Return the largest difference from the golden outputs; raises `GateFailed` beyond the archive's tolerance."""
    try:
        golden.verify(response.outputs)
    except BadArchive as error:
        raise GateFailed(str(error)) from None
    return max(float(np.abs(response.outputs[name] - values).max()) for name, values in golden.outputs.items())
