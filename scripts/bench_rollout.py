"""`nautilus-torchserve bench rollout` from a checkout."""

from benchmarks.commands.rollout import app

if __name__ == "__main__":
    app()
