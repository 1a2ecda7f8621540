"""``python -m nautilus_torchserve`` is the console command ``nautilus-torchserve``."""

from nautilus_torchserve.cli.main import main

if __name__ == "__main__":
    main()
