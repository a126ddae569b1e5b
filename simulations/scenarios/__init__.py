"""The scenarios that come with Rookery: each file one question asked of a network."""
