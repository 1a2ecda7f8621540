"""Headlines: files and simulation."""
