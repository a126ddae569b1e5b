"""First contacts: the signed list of them, what carries it, and the server an operator runs."""
