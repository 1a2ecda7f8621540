"""One network a file, each with its frozen config."""
