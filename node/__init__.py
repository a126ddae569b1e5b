"""The headless node: adapters for all I/O, the protocols over links, the API and the command line."""
