"""The one kind of button: known by the shape of its id, so that it works after every restart."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import discord
from discord import ui

from bot.adapters.discord.ids import PRESS

if TYPE_CHECKING:
    from typing import Self


class PressButton(ui.DynamicItem[ui.Button[Any]], template=PRESS):
    """A button of a card. Carries a verb and an opaque id; the client decides nothing by it."""

    def __init__(self, button: ui.Button[Any]) -> None:
        super().__init__(button)

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """The button as it was pressed."""
        assert isinstance(item, ui.Button)
        return cls(item)

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Hand the press to the client, which asks the core."""
        match = self.template.fullmatch(self.custom_id)
        assert match is not None
        await interaction.client.pressed(
            interaction, match["verb"], match["target"], ask=bool(match["ask"])
        )
