"""`/setup`: a fresh server made ready in one private message: channels, roles, review, pace.

Every control is saved as it is changed and shows what is stored, so nothing is lost by closing
it, and it works after a restart. What it sets are ordinary settings of the workspace, checked,
written down and undoable like any other; who may change them is decided where they are stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands, ui
from discord.app_commands import locale_str

from bot.adapters.discord.desk import Desk
from bot.adapters.discord.faults import EXPECTED, Fault, fault_of
from bot.adapters.discord.ids import SETUP
from bot.adapters.discord.invite import needed_permissions
from bot.adapters.discord.people import Scene, of_interaction
from bot.adapters.discord.render import Page, pages, words_for
from bot.core.command import Handle, Invocation, error_reply
from bot.core.limits import MAKES
from bot.core.refusal import translated
from bot.core.reply import Reply
from bot.core.texts import Texts, pick_locale
from storage import book, document
from storage.errors import MemberError, NotAllowed
from storage.rules import Rules, rules_of
from storage.schema import Role, role_at_least
from storage.workspaces import Actor

if TYPE_CHECKING:
    from typing import Self

MAKING = tuple(sorted(MAKES))
"""The commands that the channels are for; looking at one's own things works everywhere."""
_FOREMOST = "imagine"
PACES: Mapping[str, Mapping[str, int]] = {
    "calm": {"burst": 4, "per_minute": 4, "max_queued": 15},
    "standard": {"burst": 30, "per_minute": 30, "max_queued": 30},
    "busy": {"burst": 60, "per_minute": 60, "max_queued": 100},
}
"""How much one member may ask, and how long the line may get."""
_TEST = "a red apple"
_MOST = 25
_COLOUR = 0x5865F2


class SetupControl(ui.DynamicItem[ui.Item[Any]], template=SETUP + r"(?P<what>[a-z]{1,20})"):
    """A control of the wizard, known by its id."""

    def __init__(self, item: ui.Item[Any]) -> None:
        super().__init__(item)

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """The control as it was used."""
        return cls(item)

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Save, and show what is stored now."""
        what = self.custom_id.removeprefix(SETUP)
        data: Any = interaction.data or {}
        values = [str(value) for value in data.get("values", ())][:_MOST]
        await interaction.client.wizard.used(interaction, what, values)


class Wizard:
    """The wizard's command and what its controls do."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def build(self) -> app_commands.Command[Any, Any, Any]:
        """The slash command, offered to who may manage the server."""

        async def setup(interaction: discord.Interaction[Any]) -> None:
            await self.open(interaction)

        setup.__annotations__ = {"interaction": discord.Interaction}
        words = words_for("en")
        command: app_commands.Command[Any, Any, Any] = app_commands.Command(
            name="setup",
            description=locale_str(words("setup.help"), key="setup.help"),
            callback=setup,
            allowed_contexts=app_commands.AppCommandContext(
                guild=True, dm_channel=False, private_channel=False
            ),
            allowed_installs=app_commands.AppInstallationType(guild=True, user=False),
        )
        command.default_permissions = discord.Permissions(manage_guild=True)
        return command

    async def open(self, interaction: discord.Interaction[Any]) -> None:
        """Show the wizard to an admin, and a private no to everybody else."""
        if await self._desk.acknowledge(interaction):
            await self._redraw(interaction, of_interaction(interaction))

    async def used(
        self, interaction: discord.Interaction[Any], what: str, values: list[str]
    ) -> None:
        """One control was used."""
        scene = of_interaction(interaction)
        try:
            if not await self._desk.acknowledge(interaction, quiet=True):
                return
            if what == "test":
                await self._test(interaction, scene)
                return
            if what == "done":
                await interaction.delete_original_response()
                return
            changes = changes_of(what, values)
            if changes:
                await self._redraw(interaction, scene, changes)
        except EXPECTED as error:
            if fault_of(error) is Fault.BROKEN:
                raise

    async def _redraw(
        self,
        interaction: discord.Interaction[Any],
        scene: Scene,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        words = words_for(pick_locale(scene.locale))
        services = self._desk.core.services
        try:
            actor = await services.actor(scene.who)
            if not scene.venue.installed or not role_at_least(actor.member.role, Role.ADMIN):
                raise NotAllowed("admins_only")
            if changes:
                await services.database.run(
                    book.change, actor, changes, check=document.validate, now=services.clock()
                )
                actor = await services.actor(scene.who)
        except MemberError as error:
            await self._desk.show(interaction, pages(error_reply(error, words), words)[0])
            return
        await self._desk.show(interaction, Page(draw(_rules(actor), words, missing(interaction))))

    async def _test(self, interaction: discord.Interaction[Any], scene: Scene) -> None:
        """An ordinary picture, through everything a member's goes through."""
        reply = await self._desk.core.dispatch(
            Invocation(
                command="imagine", values={"prompt": _TEST}, who=scene.who, address=scene.address,
                locale=await self._desk.core.spoken(scene.who, scene.locale),
                key=f"discord-{interaction.id}", venue=scene.venue,
                handle=Handle(),
            )
        )  # fmt: skip
        words = words_for(pick_locale(scene.locale))
        if reply.job_id is None:
            await self._desk.follow(interaction, pages(translated(reply, words), words)[0])
            return
        up = await self._desk.presenter.publish(reply)
        said = words("setup.test_up") if up else words("setup.test_down")
        await self._desk.follow(interaction, pages(Reply(text=said), words)[0])


def _rules(actor: Actor) -> Rules:
    return rules_of(actor.workspace.settings)


def changes_of(what: str, values: list[str]) -> dict[str, Any]:
    """The settings a control changes, as dotted paths; nothing chosen is the default again."""
    if what == "channels":
        return {f"commands.{name}.only_channels": values or None for name in MAKING}
    if what == "moderators":
        return {"mod_roles": values or None}
    if what == "review":
        return {"review_channel": values[0] if values else None}
    if what == "pace" and values and values[0] in PACES:
        return {f"limits.{name}": number for name, number in PACES[values[0]].items()}
    if what == "locale" and values:
        return {"locale": None if values[0] == "ask" else values[0]}
    return {}


def missing(interaction: discord.Interaction[Any]) -> list[str]:
    """Rights we lack in this channel, by their names in Discord's settings."""
    have = interaction.app_permissions
    return [name for name, wanted in needed_permissions() if wanted and not getattr(have, name)]


def draw(rules: Rules, words: Texts, lacking: list[str]) -> ui.LayoutView:
    """The wizard over what is stored. Pure."""
    view = ui.LayoutView(timeout=None)
    box = ui.Container[Any](accent_colour=_COLOUR)
    box.add_item(ui.TextDisplay(f"### {words('setup.title')}\n{words('setup.intro')}"))
    if lacking:
        names = ", ".join(words(f"permission.{name}") for name in lacking)
        box.add_item(ui.TextDisplay(words("setup.lacking", names=names)))
    box.add_item(ui.Separator())
    imagine = rules.commands.get(_FOREMOST)
    channels = imagine.only_channels if imagine is not None else ()
    _add(box, words, "channels", _channels("channels", channels, _MOST, words))
    _add(box, words, "moderators", _roles("moderators", rules.mod_roles, words))
    review = (rules.review_channel,) if rules.review_channel else ()
    _add(box, words, "review", _channels("review", review, 1, words))
    _add(box, words, "pace", _choice("pace", tuple(PACES), pace_of(rules), words))
    _add(box, words, "locale", _choice("locale", ("ask", "en", "zh"), rules.locale or "ask", words))
    box.add_item(ui.Separator())
    box.add_item(
        ui.ActionRow(
            SetupControl(_button("test", words("setup.test"), discord.ButtonStyle.primary)),
            SetupControl(_button("done", words("setup.done"), discord.ButtonStyle.secondary)),
        )
    )
    view.add_item(box)
    return view


def pace_of(rules: Rules) -> str:
    """The pace in force, empty when an admin has set other numbers."""
    limits = rules.limits.model_dump()
    for name, numbers in PACES.items():
        if all(limits[key] == number for key, number in numbers.items()):
            return name
    return ""


def _add(box: ui.Container[Any], words: Texts, what: str, control: ui.Item[Any]) -> None:
    box.add_item(ui.TextDisplay(f"**{words(f'setup.{what}')}**\n-# {words(f'setup.{what}_help')}"))
    box.add_item(ui.ActionRow(SetupControl(control)))


def _channels(what: str, chosen: tuple[str, ...], most: int, words: Texts) -> ui.Item[Any]:
    select: ui.ChannelSelect[Any] = ui.ChannelSelect(
        custom_id=f"{SETUP}{what}",
        channel_types=[discord.ChannelType.text, discord.ChannelType.forum],
        placeholder=words(f"setup.{what}_none"),
        min_values=0,
        max_values=most,
        default_values=[
            discord.SelectDefaultValue(id=int(c), type=discord.SelectDefaultValueType.channel)
            for c in chosen[:most]
            if c.isdecimal()
        ],
    )
    return select


def _roles(what: str, chosen: tuple[str, ...], words: Texts) -> ui.Item[Any]:
    select: ui.RoleSelect[Any] = ui.RoleSelect(
        custom_id=f"{SETUP}{what}",
        placeholder=words(f"setup.{what}_none"),
        min_values=0,
        max_values=_MOST,
        default_values=[
            discord.SelectDefaultValue(id=int(r), type=discord.SelectDefaultValueType.role)
            for r in chosen[:_MOST]
            if r.isdecimal()
        ],
    )
    return select


def _choice(what: str, choices: tuple[str, ...], chosen: str, words: Texts) -> ui.Item[Any]:
    select: ui.Select[Any] = ui.Select(
        custom_id=f"{SETUP}{what}",
        placeholder=words("setup.own"),
        options=[
            discord.SelectOption(
                label=words(f"setup.{what}_{choice}"), value=choice, default=choice == chosen
            )
            for choice in choices
        ],
    )
    return select


def _button(what: str, label: str, style: discord.ButtonStyle) -> ui.Button[Any]:
    return ui.Button(style=style, label=label, custom_id=f"{SETUP}{what}")
