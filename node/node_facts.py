"""What is known of a node and its network, and what a finding drawn from it says. Plain data.

Decides names and meanings. Refuses to find facts out (`node_doctor.py`) and to judge them (`node_diagnosis.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dht.contact import Address
from dht.nat_report import NatReport


@dataclass(frozen=True, slots=True)
class Loss:
    """Datagrams sent that wanted an answer, and answers that came."""

    sent: int = 0
    answered: int = 0

    @property
    def part(self) -> float:
        """The part without an answer, 0-1."""
        return 1 - self.answered / self.sent if self.sent else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a node and its network."""

    joined: bool = False
    contacts: int = 0
    first_contacts: int = 0
    """Contacts it began with: configured, saved, listed."""
    sent: int = 0
    """Datagrams."""
    received: int = 0
    tunnel: bool = False
    """Whether its datagrams go through a gateway over TCP."""
    single: Loss = Loss()
    """Pings sent one by one."""
    burst: Loss = Loss()
    """Pings sent all at once."""
    clock_offset: float | None = None
    """Others' clocks less ours, seconds."""
    nat: NatReport = field(default_factory=NatReport)
    own: str | None = None
    """Our address on the way out."""
    public: Address | None = None
    """Where others see us."""
    mapped: Address | None = None
    """What the router says to forward to us."""
    mapping_asked: bool = False
    """Whether the router is asked for a port."""
    mapping_problem: str = ""
    listen: str = "::"
    """The address this node listens on."""
    ipv6: bool = True
    """Whether this machine gets out by IPv6."""
    mapped_v6: Address | None = None
    """Where the router's firewall lets others in over IPv6."""
    mapping_problem_v6: str = ""
    reached_over: frozenset[int] = frozenset()
    """The families, 4 and 6, over which others reach this node."""
    homes: int = 0
    """Home nodes that forward to this node."""
    mode: str = "client"
    mode_wanted: str = "auto"
    mode_reason: str = ""
    lists: int = 0
    """Sources of signed lists that are configured."""
    list_found: bool = False
    list_expired: bool = False
    list_detail: str = ""
    """What the sources said."""
    journal_problem: str | None = None
    lan_problems: tuple[str, ...] = ()
    """What ails the local network, each a sentence that says what to do."""
    stored: int | None = None
    """Nodes that stored our own record; None while it has not been published."""
    asked: int = 0
    """Nodes that were asked to store it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    state: str
    """ok, note, problem, or unknown."""
    text: str
    advice: str = ""
