"""What a scenario may set: the world's settings, parameters of its own, what it expects. Checked here, by one rule.

Decides names, defaults and bounds. Refuses to know files: `specfile` turns a fault into file, line and key.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of the whole, 0 to 1."""

Engine = Literal["protocol", "model"]
"""`protocol`: the real code on a virtual clock. `model`: vectorised stand-in for large networks."""


class Settings(BaseModel):
    """Base of all: nothing unknown is taken, nothing changes afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WorldSettings(Settings):
    """The world of a run, but for its seed. The same names are `World`'s keyword arguments."""

    latency: str = Field(
        default="cities", description="one-way delay, for example cities, planetlab, lognormal:50ms,0.4"
    )
    loss: Share = Field(default=0.0, description="probability that a datagram is lost")
    burst: float = Field(default=1.0, ge=1, description="datagrams lost in a row, on average")
    reordering: Share = Field(default=0.0, description="probability that a datagram is held back until others pass it")
    duplication: Share = Field(default=0.0, description="probability that a datagram arrives twice")
    nat: str = Field(default="none", description="where home devices stand: a NAT kind, a mix of them, or none")
    bandwidth: bool = Field(default=False, description="whether access links have the rates of their device class")
    clock_skew: float = Field(default=0.0, ge=0, description="standard deviation of nodes' clocks, seconds")
    seal: Literal["real", "cheap"] = Field(default="real", description="real NaCl boxes, or an equal-sized stand-in")
    bootstraps: int = Field(default=3, ge=1, description="always-on first contacts that every node knows")
    sample_every: float = Field(default=60.0, gt=0, description="virtual seconds between standard samples")


class Parameters(Settings):
    """Base of a scenario's own parameters."""


class Expected(Settings):
    """A demand on a figure at the end of a run."""

    figure: str = Field(description="for example get.success, put.p95, or a value the scenario records")
    at_least: float | None = Field(default=None, description="smallest allowed value")
    at_most: float | None = Field(default=None, description="largest allowed value")
    phase: str | None = Field(default=None, description="only operations of this phase")

    @model_validator(mode="after")
    def _bounded(self) -> Expected:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least, at_most or both")
        return self


class RunSpec(Settings):
    """Everything that decides a run but the seed: what is kept with results, sent to workers, and replayed."""

    scenario: str = Field(description="name of a scenario, or path of a script")
    title: str = Field(default="", description="one line for the report")
    engine: Engine = Field(default="protocol", description="protocol or model")
    world: dict[str, Any] = Field(
        default_factory=dict, description="settings of the world that differ from the scenario's"
    )
    parameters: dict[str, Any] = Field(default_factory=dict, description="parameters that differ from their defaults")
    expect: tuple[Expected, ...] = Field(default=(), description="demands on figures, beside the scenario's own")


def first_fault(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, in one line: which setting, which value, what is allowed."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or "settings"
    if fault["type"] == "extra_forbidden":
        return f"there is no setting {where!r}"
    return f"{where} = {fault['input']!r} is not allowed: {fault['msg'][0].lower()}{fault['msg'][1:]}"
