"""Every setting of a node, in one frozen object.

Decides where settings come from, and which of them contradict each other; `config_host.py`, `config_network.py` and
their like beside this file decide which there are. Nothing deeper in the node reads files, flags or the environment for
settings; `NodeConfig.load` gets all three handed in. (One exception: the default folders come from platformdirs, which
asks the system where this user keeps data.)

Built on pydantic and tomllib rather than on pydantic-settings, which reads the process environment by itself and does
not tell which source a bad value came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import ModelWrapValidatorHandler, PrivateAttr, ValidationError, ValidationInfo, model_validator

from dht.identity import PublicKey, is_exempt
from node.config_files import FileSettings
from node.config_finding import FindingSettings
from node.config_host import DEFAULT_PORT, HostSettings
from node.config_invites import InviteSettings
from node.config_lan import LanSettings
from node.config_links import LinkSettings
from node.config_network import NetworkSettings
from node.config_presence import PresenceGroup
from node.config_profiles import ProfileSettings, settings_of
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
from node.config_topics import TopicSettings
from node.config_upkeep import UpkeepSettings
from node.config_values import to_plain

__all__ = [
    "DEFAULT_PORT",
    "BadConfigFile",
    "BadSetting",
    "Contradiction",
    "NodeConfig",
    "UnknownSetting",
    "default_config_file",
]


def default_config_file() -> Path:
    """Where the configuration is looked for when nobody names a file; it need not exist."""
    return platformdirs.user_config_path("rookery") / "config.toml"


class _Said:
    """Who said what. Two configurations of the same settings are equal, whoever said them."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Said)

    __hash__ = None  # type: ignore[assignment]


class NodeConfig(
    UpkeepSettings,
    TopicSettings,
    FindingSettings,
    FileSettings,
    InviteSettings,
    LanSettings,
    LinkSettings,
    PresenceGroup,
    NetworkSettings,
    HostSettings,
    ProfileSettings,
):
    """The settings of one node. Raises `BadConfig` with one clear line, however it is made."""

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
        config = cls.model_validate(values, context=origins)
        config._said_by = _Said(origins.names)
        return config

    _said_by: _Said = PrivateAttr(default_factory=lambda: _Said({}))

    @property
    def origins(self) -> dict[str, str]:
        """Where each setting's value comes from, in words."""
        profile = settings_of(self.profile)
        words = {}
        for name in type(self).model_fields:
            if name in self.model_fields_set:
                words[name] = self._said_by.names.get(name, "given")
            else:
                words[name] = f"profile {self.profile}" if name in profile else "default"
        return words

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
    def book_file(self) -> Path:
        """The address book."""
        return self.data_dir / "book.json"

    @property
    def journal_file(self) -> Path:
        """The SQLite journal."""
        return self.data_dir / "journal.db"

    @property
    def invites_file(self) -> Path:
        """The invites this node has made, and who redeemed them."""
        return self.data_dir / "invites.db"

    def reaches(self, ip: str) -> bool:
        """Whether the node sends anything to that address."""
        return self.scope == "any" or is_exempt(ip)

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
        profile: Mapping[str, Any] = {}
        if isinstance(data, Mapping):
            wanted = settings_of(data.get("profile")).items()
            profile = {name: value for name, value in wanted if name not in data and name in cls.model_fields}
            data = {**profile, **data}
        try:
            config = handler(data)
            # What a profile says is not what somebody said: it changes with the profile.
            config.model_fields_set.difference_update(profile)
            config._stays_local()
            return config
        except ValidationError as error:
            origins = info.context if isinstance(info.context, Origins) else Origins({})
            raise explain(cls.model_fields, error, origins) from None

    def _stays_local(self) -> None:
        """Raises `Contradiction` when somebody asked for what lies beyond the local network."""
        if self.scope == "any":
            return
        needs = "scope = 'any': with 'lan' nothing beyond the local network is talked to"
        for name in ("bootstrap_lists", "gateways", "websocket"):
            if getattr(self, name):
                raise Contradiction(name, needs)
        if self.port_mapping and "port_mapping" in self.model_fields_set:
            raise Contradiction("port_mapping = true", needs)
        if self.listen not in ("0.0.0.0", "::") and not is_exempt(self.listen):
            raise Contradiction(f"listen = {self.listen}", needs)
        for contact in self.contacts:
            if not is_exempt(contact.ip):
                raise Contradiction(f"contacts with {contact.text}", needs)

    @model_validator(mode="after")
    def _together(self) -> NodeConfig:
        signers = len(set(self.bootstrap_signers))
        if self.bootstrap_lists and not signers:
            raise Contradiction("bootstrap_lists", "bootstrap_signers to name who may sign them")
        if self.bootstrap_threshold > max(1, signers):
            raise Contradiction(
                f"bootstrap_threshold = {self.bootstrap_threshold}", f"as many bootstrap_signers, not {signers}"
            )
        if self.hide_address and self.mode != "client":
            raise Contradiction("hide_address", "mode = 'client': others have to know where a server is")
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
