"""`nautilus-torchserve bench features` from a checkout."""

from benchmarks.commands.features import app

if __name__ == "__main__":
    app()
