"""Every setting of a node, in one frozen object.

Decides which settings there are, their defaults and bounds, and which of them contradict each other. Nothing deeper in
the node reads files, flags or the environment for settings; `NodeConfig.load` gets all three handed in. (One exception:
the default folders come from platformdirs, which asks the system where this user keeps data.)

Built on pydantic and tomllib rather than on pydantic-settings, which reads the process environment by itself and does
not tell which source a bad value came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import platformdirs
from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from dht.identity import PublicKey
from dht.records import MAX_LIFETIME
from node.config_sources import (
    CONFIG_VARIABLE,
    BadConfigFile,
    BadSetting,
    Contradiction,
    Origins,
    UnknownSetting,
    explain,
    gather,
)
from node.config_values import (
    FilePath,
    FirstContact,
    Gateway,
    Ip,
    Listener,
    Loopback,
    Lower,
    PeerId,
    SecretKey,
    Size,
    SocketPath,
    setting,
    to_plain,
)

__all__ = [
    "DEFAULT_PORT",
    "BadConfigFile",
    "BadSetting",
    "Contradiction",
    "NodeConfig",
    "UnknownSetting",
    "default_config_file",
]

DEFAULT_PORT: Final = 7716
"""Unassigned in IANA's Service Name and Transport Protocol Port Number Registry (7709-7719, edition of 2020)."""


def default_config_file() -> Path:
    """Where the configuration is looked for when nobody names a file; it need not exist."""
    return platformdirs.user_config_path("rookery") / "config.toml"


def _default_data_dir() -> Path:
    return platformdirs.user_data_path("rookery")


class NodeConfig(BaseModel):
    """The settings of one node. Raises `BadConfig` with one clear line, however it is made."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=True, allow_inf_nan=False
    )

    data_dir: FilePath = setting(
        _default_data_dir,
        "Folder of the node's keys and journal. Each node on a machine needs its own.",
        allowed="a folder's path",
        source="platformdirs: where this system keeps a user's data",
        path=True,
    )
    listen: Ip = setting(
        "0.0.0.0",
        "Address the node and its links listen on; `::` takes IPv6, too.",
        allowed="an IP address of this machine, 0.0.0.0 or ::",
        source="all IPv4 interfaces (RFC 1122, section 3.2.1.3)",
    )
    port: int = setting(
        DEFAULT_PORT,
        "UDP port. 0 takes any free one. The default gives way to any free one when it is taken; a port that was "
        "asked for does not.",
        allowed="a whole number, 0-65535",
        source="unassigned at IANA (7709-7719, registry of 2020)",
        ge=0,
        le=65535,
    )
    mode: Annotated[Literal["auto", "server", "client"], Lower] = setting(
        "auto",
        "Whether the node serves the DHT: `auto` does so once peers have reached it from outside.",
        allowed="auto, server or client",
        source="Kademlia nodes that cannot be reached harm look-ups (libp2p's client mode)",
    )
    network: str = setting(
        "main",
        "Name of the network: nodes of different networks ignore each other.",
        allowed="1-64 letters, digits, dots, dashes and underscores",
        source="UNSOURCED",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )
    network_key: SecretKey | None = setting(
        None,
        "Shared secret of a private network; whoever lacks it cannot say a word in it.",
        allowed="64 hexadecimal digits (32 bytes)",
        source="no key: an open network",
        secret=True,
        repr=False,
    )
    bootstrap_lists: tuple[str, ...] = setting(
        (),
        "Signed lists of first contacts: files or http(s) addresses.",
        allowed="a list of paths and http:// or https:// addresses",
        source="no list: saved contacts, `contacts` and the local network only",
        list=True,
        path=True,
    )
    bootstrap_signers: tuple[PeerId, ...] = setting(
        (),
        "Who may sign such a list.",
        allowed="a list of peer ids of 52 characters",
        source="nobody is trusted unasked",
        list=True,
    )
    bootstrap_threshold: int = setting(
        1,
        "How many of the signers must have signed a list.",
        allowed="a whole number from 1 to the number of bootstrap_signers",
        source="UNSOURCED: the least that means anything",
        ge=1,
        le=255,
    )
    contacts: tuple[FirstContact, ...] = setting(
        (),
        "Further first contacts.",
        allowed="a list of KEY@HOST:PORT, where KEY has 52 characters and HOST is an IP address",
        source="none",
        list=True,
    )
    api: SocketPath | None = setting(
        None,
        "Unix socket of the local API. By default `api.sock` in data_dir, or, when that path is too long for a "
        "socket, one in this user's run-time folder.",
        allowed="a path of at most 103 bytes (104 with its NUL: unix(4) on macOS)",
        source="beside the data it gives access to",
        path=True,
    )
    api_http: Loopback | None = setting(
        None,
        "Also serve the local API over HTTP there, to whoever has the token that lies in data_dir.",
        allowed="127.0.0.1:PORT or [::1]:PORT",
        source="off: nothing listens that was not asked for",
    )
    download_dir: FilePath | None = setting(
        None,
        "Folder for received files. By default `received` in data_dir.",
        allowed="a folder's path",
        source="beside the node's other data: nodes on one machine do not mix",
        path=True,
    )
    receive: Annotated[Literal["ask", "accept", "refuse"], Lower] = setting(
        "ask",
        "What happens to offered files: ask whoever watches (nobody there: refused), accept those of `accept_from`, "
        "or refuse all.",
        allowed="ask, accept or refuse",
        source="nothing lands on a disk unasked",
    )
    accept_from: tuple[PeerId | Literal["all"], ...] = setting(
        (),
        'Whose files `receive = "accept"` takes.',
        allowed='a list of peer ids of 52 characters, or "all" as its one item',
        source="nobody is trusted unasked",
        list=True,
    )
    max_receive_bytes: Size = setting(
        16 * 1024**3,
        "Largest file that is received.",
        allowed='bytes, or a size such as "500 MB" or "16 GiB"; 0 to 1 EB',
        source="UNSOURCED",
        ge=0,
        le=10**18,
    )
    relay: Annotated[Literal["auto", "always", "never"], Lower] = setting(
        "auto",
        "Whether the node carries links of others who cannot reach each other: `auto` does so while it serves the DHT.",
        allowed="auto, always or never",
        source="UNSOURCED: who can be reached helps those who cannot",
    )
    gateways: tuple[Gateway, ...] = setting(
        (),
        "Nodes that carry this one's traffic over TCP where UDP does not get through, best first.",
        allowed="a list of PEER@HOST:PORT, where PEER has 52 characters",
        source="none: nobody is known who does it",
        list=True,
    )
    websocket: Listener | None = setting(
        None,
        "Address and TCP port where this node takes links of others over TLS, and carries their DHT traffic: for "
        "networks that let nothing but HTTPS through.",
        allowed="IP:PORT; 0.0.0.0:443 is what such networks let through",
        source="off: nothing listens that was not asked for",
    )
    port_mapping: bool = setting(
        True,
        "Ask the router to forward the node's port (UPnP IGD, NAT-PMP, PCP; a pinhole where it speaks IPv6).",
        allowed="true or false",
        source="RFC 6886, RFC 6887, UPnP IGD:2",
    )
    local_addresses_to: tuple[PeerId | Literal["all"], ...] = setting(
        ("all",),
        "Who is told this machine's private addresses when a link is opened: without them, peers in one network may "
        "meet only by way of its router.",
        allowed='a list of peer ids of 52 characters, or "all" as its one item; empty for nobody',
        source="RFC 8828, section 5.2: mode 1 of its WebRTC IP handling",
        list=True,
    )
    include_loopback: bool = setting(
        False,
        "Offer loopback addresses to peers: for several nodes on one machine.",
        allowed="true or false",
        source="RFC 8445, section 5.1.1.1: loopback addresses must not be candidates",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Lower] = setting(
        "info",
        "The least important messages that are still logged.",
        allowed="debug, info, warning or error",
        source="UNSOURCED",
    )
    log_json: bool = setting(
        False,
        "Log one JSON object a line.",
        allowed="true or false",
        source="people read logs before programs do",
    )
    republish_interval: float = setting(
        17 * 3600.0,
        "Seconds between publications of an unchanged record. Holders repair copies meanwhile.",
        allowed="seconds, from 60 to half of record_ttl",
        source="17 copies of 20 lived for 30 h on the Mainline DHT (pkarr, churn measurement)",
        ge=60,
        le=MAX_LIFETIME / 2,
    )
    record_ttl: float = setting(
        MAX_LIFETIME,
        "Seconds that a published record lives when it is not published again.",
        allowed="seconds, from 300 to 172800 (48 h, the most that nodes store)",
        source="IPFS keeps provider records for 48 h",
        ge=300,
        le=MAX_LIFETIME,
    )
    stun: bool = setting(
        True,
        "Answer STUN binding requests on the node's port, so that neighbours learn their addresses.",
        allowed="true or false",
        source="RFC 8489: every server node is its neighbours' STUN server",
    )

    @classmethod
    def load(cls, flags: Mapping[str, object], env: Mapping[str, str], file: Path | None = None) -> NodeConfig:
        """Put settings together: flags before environment before file before defaults. Raises `BadConfig`.

        The file is `file`, else the one ROOKERY_CONFIG names, else the default one, which may be missing. Flags that
        are None count as not given.
        """
        if file is None and env.get(CONFIG_VARIABLE):
            file = Path(env[CONFIG_VARIABLE]).expanduser()
        if file is None and default_config_file().exists():
            file = default_config_file()
        values, origins = gather(cls.model_fields, flags, env, file)
        return cls.model_validate(values, context=origins)

    @property
    def port_is_explicit(self) -> bool:
        """Whether somebody asked for this very port: then no other will do."""
        return "port" in self.model_fields_set

    @property
    def received_dir(self) -> Path:
        """Where received files go."""
        return self.download_dir if self.download_dir is not None else self.data_dir / "received"

    @property
    def identity_file(self) -> Path:
        """The identity's key file."""
        return self.data_dir / "identity.key"

    @property
    def node_key_file(self) -> Path:
        """The node's key file."""
        return self.data_dir / "node.key"

    @property
    def certificate_file(self) -> Path:
        """The certificate under which links are taken with no answer, and over TLS."""
        return self.data_dir / "certificate.pem"

    @property
    def journal_file(self) -> Path:
        """The SQLite journal."""
        return self.data_dir / "journal.db"

    def tells_local_addresses(self, peer: PublicKey) -> bool:
        """Whether a peer is told this machine's private addresses."""
        return self.local_addresses_to == ("all",) or peer in self.local_addresses_to

    def accepts_from(self, peer: PublicKey) -> bool:
        """Whether a file of `peer` is taken with nobody asked."""
        return self.receive == "accept" and (self.accept_from == ("all",) or peer in self.accept_from)

    def replace(self, **changes: object) -> NodeConfig:
        """Return these settings with some others, checked again."""
        return type(self)(**{name: getattr(self, name) for name in self.model_fields_set} | changes)

    def to_plain(self) -> dict[str, Any]:
        """Return every setting as JSON can hold it; the network key only as whether there is one."""
        plain: dict[str, Any] = {name: to_plain(getattr(self, name)) for name in type(self).model_fields}
        plain["network_key"] = None if self.network_key is None else "(set)"
        return plain

    @model_validator(mode="wrap")
    @classmethod
    def _one_clear_line(cls, data: Any, handler: ModelWrapValidatorHandler[NodeConfig], info: ValidationInfo) -> Any:
        try:
            return handler(data)
        except ValidationError as error:
            origins = info.context if isinstance(info.context, Origins) else Origins({})
            raise explain(cls.model_fields, error, origins) from None

    @model_validator(mode="after")
    def _together(self) -> NodeConfig:
        signers = len(set(self.bootstrap_signers))
        if self.bootstrap_lists and not signers:
            raise Contradiction("bootstrap_lists", "bootstrap_signers to name who may sign them")
        if self.bootstrap_threshold > max(1, signers):
            raise Contradiction(
                f"bootstrap_threshold = {self.bootstrap_threshold}", f"as many bootstrap_signers, not {signers}"
            )
        if self.receive == "accept" and not self.accept_from:
            raise Contradiction("receive = 'accept'", "accept_from: peer ids, or 'all'")
        if "all" in self.accept_from and len(self.accept_from) > 1:
            raise Contradiction("accept_from with 'all'", "no further items")
        if "all" in self.local_addresses_to and len(self.local_addresses_to) > 1:
            raise Contradiction("local_addresses_to with 'all'", "no further items")
        if self.republish_interval * 2 > self.record_ttl:
            raise Contradiction(
                f"republish_interval = {self.republish_interval:g}",
                f"a record_ttl of at least twice that, not {self.record_ttl:g}: one publication may fail",
            )
        return self
