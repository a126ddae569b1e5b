"""A story: the scenario of every TOML file that brings nodes and steps of its own.

Decides nothing but the parameters' shape; the steps stand in `simulations.steps`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.steps import AnyStep, NodeGroup, tell

if TYPE_CHECKING:
    from simulations.world import World


class Story(Parameters):
    """Nodes of your own and steps of your own, written down in a TOML file."""

    nodes: tuple[NodeGroup, ...] = Field(min_length=1, description="groups of nodes: [[nodes]] tables")
    steps: tuple[AnyStep, ...] = Field(min_length=1, description="what happens, in this order: [[step]] tables")


@scenario("story", "What a TOML file tells", Story)
async def story(world: World, p: Story) -> None:
    """Add the nodes, then play the steps."""
    await tell(world, p.nodes, p.steps)
