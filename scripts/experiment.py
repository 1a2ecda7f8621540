"""`nautilus-torchserve experiment` from a checkout."""

from nautilus_torchserve.cli.experiment import app

if __name__ == "__main__":
    app()
