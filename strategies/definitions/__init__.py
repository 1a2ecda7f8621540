"""What an instrument is: from a catalog, a file, the table of common contracts, options, or its name."""
