"""A packed model for the backtests on features of one's own."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def moves_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TorchScript program that expects moves to go on, packed as `pack FILE` does."""
    from test_feature_backtest import TRADES

    torch = pytest.importorskip("torch")
    from nautilus_torchserve.release.build.archive import pack_run
    from nautilus_torchserve.training.artefacts.run import Interface, write_artefact_run

    class Program(torch.nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return torch.stack([rows[:, 0] + 0.5 * rows[:, 1], 0 * rows[:, 0]], dim=1)

    folder = tmp_path_factory.mktemp("moves")
    rows = torch.randn(100, 2)
    torch.jit.trace(Program(), rows).save(str(folder / "moves.pt"))
    run = folder / "run"
    run.mkdir()
    write_artefact_run(folder / "moves.pt", run, Interface(spec=TRADES), rows.numpy())
    pack_run("moves", TRADES.handler, run, "1.0", folder)
    return folder / "moves.mar"
