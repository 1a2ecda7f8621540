"""`pack`: options that belong to a file of a trained model, and those that belong to a run."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from model_defs.tick_classifier import TickClassifier, TickClassifierConfig
from nautilus_torchserve.cli.pack import app
from nautilus_torchserve.serving.client.client import connect


def test_a_program_becomes_an_archive_with_named_outputs_and_columns(tmp_path: Path) -> None:
    torch.jit.trace(TickClassifier(TickClassifierConfig()).eval(), torch.zeros(1, 4)).save(str(tmp_path / "net.pt"))
    options = ("--name", "own", "--outputs", "up, down,flat", "--columns", "a,b,c,d", "--activation", "softmax")

    result = CliRunner().invoke(app, [str(tmp_path / "net.pt"), *options, "--out", str(tmp_path), "--json"])

    assert result.exit_code == 0, result.output
    with connect(f"mar:{tmp_path / 'own.mar'}", "own") as client:
        assert client.metadata.outputs == ("up", "down", "flat")
        assert [column.name for column in client.metadata.feature_schema.columns] == ["a", "b", "c", "d"]
        assert client.metadata.output_constraints.sum_to_one == (("up", "down", "flat"),)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("tick", "--name", "a", "--set", "b=1"),
            "expected --name, --set with a file of a trained model, got the spec",
        ),
        (("net.pt", "--run", "runs/a"), "expected --run with a spec, got the trained model net.pt"),
        (("no.pt", "--name", "a"), "no.pt: expected a file or folder of a trained model, got none"),
        (("no.pt", "--outputs", "a", "--spec", "b.py"), "expected --spec, or --outputs, --columns and --activation"),
        (("no.pt", "--name", "a", "--activation", "relu"), "expected --activation of softmax, sigmoid, got 'relu'"),
        (("no.pt", "--name", "a", "--outputs", "up,up"), "expected different names with commas between them"),
        (("no.pt", "--name", "a", "--set", "hidden"), "expected --set NAME=VALUE, got 'hidden'"),
        (("no.pt", "--name", "a", "--inputs", "no.npy"), "no.npy: expected rows as numpy.save writes them"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, list(arguments))

    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ")
