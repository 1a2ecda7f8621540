"""Attack this project's own server, client and files: ``python scripts/attack.py --help``."""

from fault_injection.command import app

if __name__ == "__main__":
    app()
