"""Slash commands made from the core's catalog: names, options, limits, choices and help once.

Nothing here knows a command by name. What Discord cannot express (a seed beyond 2^53, a size that
may also be typed) is sent as text, and the core checks it as it checks everything.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import discord
from discord import app_commands
from discord.app_commands import locale_str

from bot.adapters.discord.render import clip, words_for
from bot.core.attachment import Attachment
from bot.core.command import CommandInfo
from bot.core.inputs import OptionInfo
from bot.core.texts import LOCALES, Texts, pick_locale
from storage.schema import Platform, Role

_HELP = 100
_CHOICES = 25
_EXACT = 2**53 - 1
"""Largest whole number that Discord carries unchanged."""
TYPED_TOO = frozenset({"model", "style", "size", "adapter"})
"""Choices that are only suggestions: more may be typed, so they are completed, not fixed."""

Run = Callable[[discord.Interaction[Any], str, dict[str, Any]], Awaitable[None]]
"""Answers one use of a command: the event, the command's name, the raw values."""
Guess = Callable[
    [discord.Interaction[Any], CommandInfo, OptionInfo, str],
    Awaitable[list[app_commands.Choice[Any]]],
]
"""Completes what is being typed into an option."""

_TYPES = {
    "integer": discord.AppCommandOptionType.integer,
    "number": discord.AppCommandOptionType.number,
    "flag": discord.AppCommandOptionType.boolean,
    "image": discord.AppCommandOptionType.attachment,
    "file": discord.AppCommandOptionType.attachment,
}
_PICKED = {
    "member": discord.AppCommandOptionType.user,
    "channel": discord.AppCommandOptionType.channel,
}
"""Texts of the core that name somebody or some place: Discord lets people pick these."""
_HINTS = {
    Role.MEMBER: None,
    Role.MODERATOR: discord.Permissions(manage_messages=True),
    Role.ADMIN: discord.Permissions(manage_guild=True),
    Role.OWNER: discord.Permissions(administrator=True),
}
"""What Discord shows a command to at first. Admins may change it; the core's check is the rule."""


class OptionValue(app_commands.Transformer[Any]):
    """One option as Discord offers it; its value goes to the core as it came."""

    def __init__(self, option: OptionInfo, texts: Texts) -> None:
        self._option = option
        self._texts = texts

    @property
    def type(self) -> discord.AppCommandOptionType:
        option = self._option
        widest = max(abs(option.minimum or 0), abs(option.maximum or 0))
        if option.kind == "integer" and (widest > _EXACT or option.maximum is None):
            return discord.AppCommandOptionType.string
        if option.kind == "text" and option.name in _PICKED:
            return _PICKED[option.name]
        return _TYPES.get(option.kind, discord.AppCommandOptionType.string)

    @property
    def min_value(self) -> int | float | None:
        return self._bound(self._option.minimum, 1 if self._option.required else None)

    @property
    def max_value(self) -> int | float | None:
        return self._bound(self._option.maximum, self._option.max_length)

    @property
    def choices(self) -> list[app_commands.Choice[int | float | str]] | None:
        if not fixed(self._option):
            return None
        return [
            app_commands.Choice(
                name=locale_str(name_of(c, self._texts), key=f"choice.{c}"), value=c
            )
            for c in self._option.choices
            if c
        ]

    def _bound(self, number: float | None, length: int | None) -> int | float | None:
        kind = self.type
        if kind is discord.AppCommandOptionType.integer:
            return None if number is None else int(number)
        if kind is discord.AppCommandOptionType.number:
            return number
        if kind is discord.AppCommandOptionType.string and not fixed(self._option):
            return None if length is None else min(length, 6000)
        return None

    async def transform(self, interaction: discord.Interaction[Any], value: Any, /) -> Any:
        """Unchanged, but for a file (the platform's own object, never an address) and for who or
        what was picked (its id)."""
        if isinstance(value, discord.Attachment):
            return attached(value)
        picked = self.type in _PICKED.values()
        return str(value.id) if picked and hasattr(value, "id") else value


class OptionGuess(OptionValue):
    """An option that is completed while it is typed."""

    def __init__(self, option: OptionInfo, texts: Texts, info: CommandInfo, guess: Guess) -> None:
        super().__init__(option, texts)
        self._info = info
        self._guess = guess

    async def autocomplete(
        self, interaction: discord.Interaction[Any], value: int | float | str, /
    ) -> list[app_commands.Choice[int | float | str]]:
        """What fits what was typed so far."""
        return await self._guess(interaction, self._info, self._option, str(value))


def fixed(option: OptionInfo) -> bool:
    """Whether an option's choices are all there is, and few enough for Discord to hold them."""
    return bool(option.choices) and len(option.choices) <= _CHOICES and not guessed(option)


def guessed(option: OptionInfo) -> bool:
    """Whether an option is completed while it is typed."""
    return bool(option.choices) and (
        option.name in TYPED_TOO or option.kind != "choice" or len(option.choices) > _CHOICES
    )


def build(info: CommandInfo, run: Run, guess: Guess) -> app_commands.Command[Any, Any, Any]:
    """One slash command from the core's description of it."""
    texts = words_for("en")
    options = sorted(info.options, key=lambda option: not option.required)[:25]

    async def callback(interaction: discord.Interaction[Any], /, **values: Any) -> None:
        await run(interaction, info.name, {k: v for k, v in values.items() if v is not None})

    callback.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("interaction", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *(_parameter(info, option, texts, guess) for option in options),
        ]
    )
    described = app_commands.describe(
        **{o.name: _help(o.help, f"option.{info.name}.{o.name}") for o in options}
    )(callback)
    renamed = app_commands.rename(
        **{o.name: locale_str(o.name, key=f"option_name.{o.name}") for o in options}
    )(described)
    personal = info.role is Role.MEMBER
    command: app_commands.Command[Any, Any, Any] = app_commands.Command(
        name=info.name,
        description=_help(info.help, f"command.{info.name}"),
        callback=renamed,
        allowed_contexts=app_commands.AppCommandContext(
            guild=True, dm_channel=personal, private_channel=personal
        ),
        allowed_installs=app_commands.AppInstallationType(guild=True, user=personal),
    )
    command.default_permissions = _HINTS[info.role]
    return command


def _parameter(
    info: CommandInfo, option: OptionInfo, texts: Texts, guess: Guess
) -> inspect.Parameter:
    kind = (
        OptionGuess(option, texts, info, guess) if guessed(option) else OptionValue(option, texts)
    )
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if option.required else None,
        annotation=kind,
    )


def _help(text: str, key: str) -> locale_str:
    return locale_str(clip(text or "…", _HELP), key=key)


def name_of(choice: str, texts: Texts) -> str:
    """A choice as people read it."""
    return texts(key) if texts.has(key := f"choice.{choice}") else choice


def attached(file: discord.Attachment) -> Attachment:
    """Discord's own attachment object, reduced to what the core needs."""
    return Attachment(
        platform=Platform.DISCORD,
        name=file.filename[:200],
        url=file.url,
        size=file.size,
        content_type=file.content_type or "",
    )


class Words(app_commands.Translator):
    """Names and help texts in every language we have; English is what Discord falls back to."""

    def __init__(self, infos: Mapping[str, list[CommandInfo]] | None = None) -> None:
        self._help = {
            locale: {f"command.{info.name}": info.help for info in found}
            | {f"option.{info.name}.{o.name}": o.help for info in found for o in info.options}
            for locale, found in (infos or {}).items()
        }

    async def translate(
        self,
        string: locale_str,
        locale: discord.Locale,
        context: app_commands.TranslationContextTypes,
    ) -> str | None:
        """A string of ours in a language of ours; None leaves Discord the English one."""
        ours = pick_locale(locale.value)
        key = string.extras.get("key")
        if key is None or not locale.value.startswith(ours) or ours == LOCALES[0]:
            return None
        texts = words_for(ours)
        found = self._help.get(ours, {}).get(key) or (texts(key) if texts.has(key) else None)
        return clip(found, _HELP) if found else None
