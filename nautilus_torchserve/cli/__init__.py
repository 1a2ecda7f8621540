"""The command line. Importing it makes the bundle importable, for this process and those that it starts."""

from nautilus_torchserve.bundle import add_to_path

add_to_path()
