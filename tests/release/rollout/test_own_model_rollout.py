"""A model of one's own, packed from a TorchScript file, through signature, rollout, rollback and planted faults."""

from pathlib import Path

import numpy as np
import pytest
import torch
from deployment import QUICK, Deployment

from benchmarks.versions import as_version
from nautilus_torchserve.models.spec import GENERIC_HANDLER
from nautilus_torchserve.registry.registry import Registry
from nautilus_torchserve.release.build.archive import pack_run
from nautilus_torchserve.release.rollout.rollout import promote, register, rollback
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.signing.archive_signature import sign_archive
from nautilus_torchserve.training.artefacts.run import Interface, write_artefact_run
from nautilus_torchserve.wire.digest import archive_digest
from nautilus_torchserve.wire.errors import NotExplained

INTERFACE = Interface("move", outputs=("up", "down"), columns=("a", "b", "c"), activation="softmax")
ANSWERS_OTHERWISE = b"""
from nautilus_torchserve.inference.models.generic import GenericModel
_compute = GenericModel.compute
def _other(self, requests):
    return _compute(self, requests)[:, ::-1].copy() if hasattr(self, "golden_columns") else _compute(self, requests)
GenericModel.compute = _other
"""
RAISES = b"\nraise RuntimeError('raised on purpose')\n"


class Program(torch.nn.Module):
    def __init__(self, tilt: float) -> None:
        super().__init__()
        self.tilt = tilt

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.stack([rows.sum(dim=1) + self.tilt, rows[:, 0]], dim=1)


def pack(folder: Path, version: str, tilt: float) -> Path:
    """Write an unsigned archive of the model, as `pack move.pt` does."""
    run = folder / f"run-{version}"
    run.mkdir()
    torch.jit.trace(Program(tilt), torch.zeros(1, 3)).save(str(folder / "move.pt"))
    write_artefact_run(folder / "move.pt", run, INTERFACE)
    (out := folder / version).mkdir()
    return pack_run("move", GENERIC_HANDLER, run, version, out).path


def answer(deployment: Deployment) -> tuple[str, str, float]:
    """Return version, digest and first output of the default route."""
    with connect(deployment.server.inference_url, "move", token=deployment.server.token) as client:
        response = client.predict(np.ones((1, 3), dtype=np.float32))
        with pytest.raises(NotExplained, match="expected a network with gradients to explain, got a program"):
            client.explain(np.ones((1, 3), dtype=np.float32))
    return response.version, response.digest, response.outputs["up"].item()


@pytest.mark.slow
def test_a_packed_model_of_ones_own_is_released_and_rolled_back_and_its_faults_never_serve(
    deployment: Deployment, tmp_path: Path
) -> None:
    target, trusted = deployment.target, deployment.trusted
    first, second = pack(tmp_path, "1.0", 0.0), pack(tmp_path, "1.1", 0.01)

    refused = register(target, "move", first, trusted, QUICK)
    assert not refused.ok
    assert "expected a signed archive, got an unsigned one" in refused.as_text()
    for archive in (first, second):
        sign_archive(archive, deployment.key)
    registry = Registry(tmp_path / "mlflow", trusted)
    for archive in (first, second):
        registry.add(archive)
    assert sorted(version.version for version in registry.versions("move")) == ["1.0", "1.1"]
    registry.set_alias(registry.find("move", "1.1"), "staging")
    assert registry.find("move", "staging").digest == archive_digest(second)

    assert register(target, "move", first, trusted, QUICK).ok
    before = answer(deployment)
    assert before[:2] == ("1.0", archive_digest(first))

    candidate = register(target, "move", second, trusted, QUICK, promote=False)
    assert candidate.ok, candidate.as_text()
    assert answer(deployment) == before
    promoted = promote(target, "move", "1.1", QUICK)
    assert promoted.ok, promoted.as_text()
    assert answer(deployment)[:2] == ("1.1", archive_digest(second))
    assert answer(deployment)[2] > before[2]

    assert rollback(target, "move").ok
    assert answer(deployment) == before

    for number, fault in enumerate((ANSWERS_OTHERWISE, RAISES)):
        faulty = tmp_path / f"faulty-{number}.mar"
        as_version(
            second,
            faulty,
            f"1.{number + 2}",
            lambda name, content, fault=fault: content + fault if name == "model_handler.py" else content,
        )
        sign_archive(faulty, deployment.key)
        assert not register(target, "move", faulty, trusted, QUICK).ok
        assert answer(deployment) == before
