"""Fit a model and write its run folder: ``nautilus-torchserve train tick --data trades.csv``."""

from nautilus_torchserve.cli.app import App
from nautilus_torchserve.models.spec import load_object
from nautilus_torchserve.models.table import MODELS

app = App(no_args_is_help=True)


@app.callback()
def train() -> None:
    """Fit a model and write its run folder."""


for _spec in MODELS.values():
    if _spec.training is not None:
        app.command(_spec.name)(load_object(_spec.training.command))
