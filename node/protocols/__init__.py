"""Protocols between nodes: bytes and the time in, bytes, deadlines and events out. No input or output in here."""
