"""Large networks of the same protocol code, run on a virtual clock."""
