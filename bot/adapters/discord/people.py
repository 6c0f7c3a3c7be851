"""Who asked and where, in the core's words, from what Discord says about an event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import discord

from bot.adapters.discord.faults import EXPECTED
from bot.core.command import Venue, Who
from storage.errors import NotFound, RetryLater
from storage.schema import PERSONAL, Address, Platform, Role


@dataclass(frozen=True)
class Scene:
    """Everything the core is told of an event besides what was asked."""

    who: Who
    address: Address
    venue: Venue
    locale: str
    can_post: bool
    """Whether we may send messages with files there by ourselves."""


def of_interaction(interaction: discord.Interaction[Any]) -> Scene:
    """The scene of a command, a press or a dialogue. Reads the event and the cache only."""
    guild = interaction.guild
    here = guild is not None and interaction.client.get_guild(guild.id) is not None
    installed = here or interaction.is_guild_integration()
    direct = interaction.guild_id is None and _is_ours(interaction)
    channel = interaction.channel
    return Scene(
        who=_who(
            interaction.user,
            guild if installed else None,
            interaction.permissions,
            entitlements=tuple(str(e.sku_id) for e in _in_force(interaction)),
        ),
        address=_address(channel, interaction.channel_id, interaction.user, guild, installed),
        venue=Venue(
            age_restricted=_age_restricted(channel),
            private=interaction.guild_id is None,
            installed=installed or direct,
            file_limit=interaction.filesize_limit,
        ),
        locale=str(interaction.locale),
        can_post=direct or (here and _may_post(interaction.app_permissions, channel)),
    )


def of_message(message: discord.Message, me: discord.ClientUser) -> Scene:
    """The scene of a mention, a reply or a direct message."""
    guild = message.guild
    author = message.author
    permissions = discord.Permissions.none()
    if isinstance(author, discord.Member) and not isinstance(
        message.channel, discord.DMChannel | discord.PartialMessageable | discord.GroupChannel
    ):
        permissions = message.channel.permissions_for(author)
    return Scene(
        who=_who(author, guild, permissions),
        address=_address(message.channel, message.channel.id, author, guild, guild is not None),
        venue=Venue(
            age_restricted=_age_restricted(message.channel),
            private=guild is None,
            file_limit=guild.filesize_limit if guild is not None else Venue().file_limit,
        ),
        locale=str(guild.preferred_locale) if guild is not None else "en",
        can_post=True,
    )


def role_of(member: discord.abc.User, guild: discord.Guild, allowed: discord.Permissions) -> Role:
    """What Discord's own permissions make of a person; a workspace may map roles otherwise."""
    if guild.owner_id == member.id:
        return Role.OWNER
    if allowed.administrator or allowed.manage_guild:
        return Role.ADMIN
    if allowed.manage_messages or allowed.moderate_members:
        return Role.MODERATOR
    return Role.MEMBER


class StandingReader:
    """What Discord says of a member now, whole server: one call of the API.

    A permission that only a channel gives somebody is none here: the page is no channel.
    """

    def __init__(self, client: discord.Client) -> None:
        self._client = client

    async def __call__(self, workspace: str, member: str) -> Who | None:
        """See :data:`bot.core.services.Standing`."""
        guild = self._client.get_guild(int(workspace)) if workspace.isdecimal() else None
        if guild is None or not member.isdecimal():
            raise NotFound("member_gone")
        try:
            found = await guild.fetch_member(int(member))
        except discord.NotFound:
            return None
        except discord.Forbidden as error:
            raise NotFound("member_gone") from error
        except EXPECTED as error:
            raise RetryLater("Discord does not say who somebody is") from error
        return _who(found, guild, found.guild_permissions)


def _who(
    member: discord.User | discord.Member,
    guild: discord.Guild | None,
    allowed: discord.Permissions,
    *,
    entitlements: tuple[str, ...] = (),
) -> Who:
    roles: tuple[str, ...] = ()
    if guild is not None and isinstance(member, discord.Member):
        roles = tuple(str(role) for role in member._roles)  # ids, without needing a cached role
    return Who(
        platform=Platform.DISCORD,
        workspace=str(guild.id) if guild is not None else f"{PERSONAL}{member.id}",
        workspace_name=(guild.name if guild is not None else "")[:100],
        member=str(member.id),
        member_name=member.display_name[:100],
        role=role_of(member, guild, allowed) if guild is not None else Role.MEMBER,
        roles=roles,
        entitlements=entitlements,
        account_created_at=round(member.created_at.timestamp() * 1000),
    )


def _address(
    channel: Any,
    channel_id: int | None,
    member: discord.abc.User,
    guild: discord.Guild | None,
    installed: bool,
) -> Address:
    parent, thread = str(channel_id), None
    if isinstance(channel, discord.Thread):
        parent, thread = str(channel.parent_id), str(channel.id)
    workspace = str(guild.id) if guild is not None and installed else f"{PERSONAL}{member.id}"
    return Address(
        platform=Platform.DISCORD, workspace=workspace, channel=parent, thread=thread,
        age_restricted=_age_restricted(channel),
    )  # fmt: skip


def _is_ours(interaction: discord.Interaction[Any]) -> bool:
    """Whether this is the direct channel between the person and us, where we may post."""
    context = interaction.context
    if context.dm_channel:
        return True
    return isinstance(interaction.channel, discord.DMChannel) and not context.private_channel


def _age_restricted(channel: Any) -> bool:
    """Discord's own word on a channel; a thread has its parent's. Nothing we say changes it."""
    try:
        return bool(channel.is_nsfw())
    except (AttributeError, discord.ClientException):
        return False


def _may_post(allowed: discord.Permissions, channel: Any) -> bool:
    speak = (
        allowed.send_messages_in_threads
        if isinstance(channel, discord.Thread)
        else allowed.send_messages
    )
    return bool(allowed.view_channel and speak and allowed.attach_files)


def _in_force(interaction: discord.Interaction[Any]) -> list[discord.Entitlement]:
    now = discord.utils.utcnow()
    return [
        e
        for e in interaction.entitlements
        if not e.deleted and not e.consumed and (e.ends_at is None or e.ends_at > now)
    ]
