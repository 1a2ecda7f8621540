"""`nautilus-torchserve explain` from a checkout."""

from nautilus_torchserve.cli.explain import app

if __name__ == "__main__":
    app()
