"""Attacks on this project's own servers, clients and files, seeded and counted; ``scripts/attack.py`` runs them."""
