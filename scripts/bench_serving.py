"""`nautilus-torchserve bench serving` from a checkout."""

from benchmarks.commands.serving import app

if __name__ == "__main__":
    app()
