"""Models of others behind the same server: the bits of the bare network, over HTTP as in process."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model_defs.tick_classifier import TickClassifier, TickClassifierConfig
from nautilus_torchserve.models.spec import GENERIC_HANDLER
from nautilus_torchserve.release.build.archive import pack_run
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.training.artefacts.run import Interface, write_artefact_run


@pytest.fixture(scope="module")
def network() -> TickClassifier:
    torch.manual_seed(3)
    return TickClassifier(TickClassifierConfig()).eval()  # type: ignore[return-value]


def test_a_program_of_others_is_served_with_the_bits_of_its_bare_network(
    network: TickClassifier, tick_server: TorchServe, model_store: Path, rows: np.ndarray, tmp_path: Path
) -> None:
    torch.jit.trace(network, torch.zeros(1, 4)).save(str(tmp_path / "script.pt"))
    run = tmp_path / "run"
    run.mkdir()
    interface = Interface("foreign", outputs=("up", "down", "flat"), columns=tuple("abcd"), activation="softmax")
    write_artefact_run(tmp_path / "script.pt", run, interface)
    archive = pack_run("foreign", GENERIC_HANDLER, run, "1.0", model_store).path
    manager = tick_server.management()
    manager.register(archive.name, model_name="foreign")
    manager.wait_ready("foreign", "1.0")

    with (
        connect(tick_server.inference_url, "foreign", token=tick_server.token) as served,
        connect(f"mar:{archive}", "foreign") as local,
    ):
        tile = local.metadata.tile_rows[0]
        with torch.inference_mode():
            bare = network(torch.from_numpy(rows[:tile])).softmax(dim=1).numpy()
        for count in (1, 3, tile):
            outputs = [
                np.stack(list(client.predict(rows[:count]).outputs.values()), axis=1) for client in (served, local)
            ]
            assert (outputs[0] == bare[:count]).all()
            assert (outputs[1] == bare[:count]).all()
        assert served.metadata.outputs == ("up", "down", "flat")
        assert served.metadata.output_constraints.sum_to_one == (("up", "down", "flat"),)
