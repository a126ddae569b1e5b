"""Large networks of the real protocol code, on a virtual clock and an in-memory network.

The parts, lowest first: `randomness` (independent seeded streams), `events` (the queue that is the clock),
`hops`, `latency` and `faults` (what happens to a packet), `network` (hosts and delivery), `trace` (proof that two
runs were the same), `engines` and `cluster` (five-verb engines), `loop` (asyncio on the same clock).
"""
