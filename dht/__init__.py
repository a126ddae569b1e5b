"""The Rookery DHT protocol: no sockets, files, clocks or global randomness in here."""
