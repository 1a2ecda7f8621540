"""Asking a registered version what its archive says it must answer."""

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


def archived_golden(archive: Path) -> Golden:
    """The golden inputs and outputs of an archive; raises `GateFailed` where it has none that can be asked."""
    with open_archive(archive) as members:
        if GOLDEN not in members.namelist():
            raise GateFailed(f"{archive}: an archive of scripts/archive.py expected, was without {GOLDEN}")
        content = io.BytesIO(members.read(GOLDEN))  # in memory: a rollback needs no free space
    try:
        golden = parse_golden(content, GOLDEN)
        golden_inputs(golden)
    except (BadArchive, KeyError, TypeError, ValueError) as error:
        raise GateFailed(f"{archive}: expected golden inputs that a model can be asked: {error}") from None
    return golden


def golden_inputs(golden: Golden) -> Inputs:
    """What is asked, in the form that clients take."""
    if "rows" not in golden.inputs:
        return [str(text) for text in golden.inputs["texts"]]
    rows: NDArray[np.float32] = golden.inputs["rows"]
    if "texts" not in golden.inputs:
        return rows
    windows, at = [], 0
    for row, count in zip(rows, golden.inputs["counts"].tolist(), strict=True):
        texts, ages = (golden.inputs[name][at : at + count].tolist() for name in ("texts", "ages_s"))
        windows.append(NewsWindow(row, tuple(texts), tuple(ages)))
        at += count
    return windows


def ask_golden(client: InferenceClient, golden: Golden, version: str, digest: str) -> PredictionResponse:
    """The version's answer to all golden inputs, checked to be of this version and this archive.

    Raises
    ------
    GateFailed
        Something else answered.
    RequestError
        Nothing did.
    """
    answer = client.predict(golden_inputs(golden))
    if answer.version != version:
        raise GateFailed(f"an answer of version {version} expected, was one of {answer.version}")
    if answer.digest != digest:
        raise GateFailed(f"an answer of archive {digest} expected, was one of {answer.digest}")
    return answer


def check_parity(answer: PredictionResponse, golden: Golden) -> float:
    """The largest difference from the expected outputs; raises `GateFailed` beyond the archive's tolerance."""
    try:
        golden.verify(answer.outputs)
    except BadArchive as error:
        raise GateFailed(str(error)) from None
    return max(float(np.abs(answer.outputs[name] - said).max()) for name, said in golden.outputs.items())
