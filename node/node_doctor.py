"""Finds out how a node's network behaves: reads what the node knows, and pings its contacts singly and all at once.

Decides how much is sent for that: some hundred small datagrams. Refuses to judge what it finds.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from dht.contact import Contact
from dht.events import PingDone
from node.node_diagnosis import ENOUGH, diagnose
from node.node_facts import Facts, Finding, Loss

if TYPE_CHECKING:
    from node.config import NodeConfig
    from node.node_inside import Inside

PINGED: Final = 16
"""Contacts that are pinged."""

SPACE: Final = 0.05
"""Seconds between two single pings. UNSOURCED: no router that lets anything through minds twenty a second."""

EACH: Final = 5
"""Pings to each contact in the burst: eighty datagrams of 130 bytes at once, as a look-up in a hurry sends."""

PATIENCE: Final = 2.0
"""Seconds to wait for each answer. UNSOURCED: longer than a queue that does not drop holds anything."""


async def examine(inside: Inside, config: NodeConfig) -> tuple[Finding, ...]:
    """Look at everything."""
    single, burst = await measure(inside)
    return diagnose(facts(inside, config, inside.outside.own_address(), single, burst))


def facts(inside: Inside, config: NodeConfig, own: str | None, single: Loss, burst: Loss) -> Facts:
    """What is known of the node by now. `own`: this machine's address on the way out."""
    driver, joining, outside = inside.driver, inside.joining, inside.outside
    engine, report = driver.engine, joining.report
    counters, published = inside.datagrams.counters, inside.publishing.published
    return Facts(
        joined=joining.joined.is_set(),
        contacts=len(engine.contacts()),
        first_contacts=joining.first_contacts,
        sent=counters["sent"],
        received=counters["received"],
        tunnel=outside.tunnelled,
        single=single,
        burst=burst,
        clock_offset=engine.clock_offset,
        nat=engine.nat_report(driver.now()),
        own=own,
        public=engine.public_address,
        mapped=None if outside.mapping is None else outside.mapping.address,
        mapping_asked=outside.maps_ports,
        mapping_problem=outside.mapping_problem,
        listen=config.listen,
        ipv6=6 in outside.families() or outside.tunnelled,
        mapped_v6=None if outside.pinhole is None else outside.pinhole.address,
        mapping_problem_v6=outside.pinhole_problem,
        reached_over=engine.reached_over,
        homes=len(engine.homes()),
        mode=engine.mode.value,
        mode_wanted=config.mode,
        mode_reason=engine.mode_reason,
        lists=len(config.bootstrap_lists),
        list_found=report is not None and report.current is not None,
        list_expired=report is not None and report.hints_only,
        list_detail="" if report is None else "; ".join(f"{one.source}: {one.message}" for one in report.outcomes),
        journal_problem=inside.journal.problem,
        lan_problems=inside.lan.status().problems,
        stored=None if published is None else published.stored,
        asked=0 if published is None else published.asked,
    )


async def measure(inside: Inside) -> tuple[Loss, Loss]:
    """What is lost of datagrams sent one by one, and of many at once."""
    contacts = inside.driver.engine.contacts()[:PINGED]
    if not contacts:
        return Loss(), Loss()

    async def ping(contact: Contact, after: float) -> bool:
        await asyncio.sleep(after)
        done = await inside.driver.run(lambda engine, now: engine.ping(contact, now, once=PATIENCE), PingDone)
        return done.rtt is not None

    rounds = -(-ENOUGH // len(contacts))
    singly = [ping(contact, SPACE * at) for at, contact in enumerate(contacts * rounds)]
    single = await asyncio.gather(*singly)
    there = [contact for contact, answered in zip(contacts * rounds, single, strict=True) if answered]
    # Who did not answer singly is gone, and says nothing of the line.
    burst = await asyncio.gather(*(ping(contact, 0.0) for contact in there for _ in range(EACH)))
    return Loss(len(single), sum(single)), Loss(len(burst), sum(burst))
