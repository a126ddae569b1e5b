"""The headless node: adapters for all I/O, the protocols that run over links, the API and the command line."""
