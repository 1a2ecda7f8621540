"""`nautilus-torchserve bench live` from a checkout."""

from benchmarks.commands.live import app

if __name__ == "__main__":
    app()
