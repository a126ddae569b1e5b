"""The conformance suite: named checks that speak the wire protocol to a running node and judge what comes back."""
