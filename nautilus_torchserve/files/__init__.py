"""Files that survive crashes and damage: atomic replacement and checked state files."""
