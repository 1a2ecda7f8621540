"""`nautilus-torchserve rollout` from a checkout."""

from nautilus_torchserve.cli.rollout import app

if __name__ == "__main__":
    app()
