"""Rolling out the archives that appear in a folder."""
