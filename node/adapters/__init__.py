"""The only input and output of a node: sockets, files, databases, WebRTC."""
