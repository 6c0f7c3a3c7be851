"""Commands defined once for every platform, and the one place where errors become replies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic import Field as PydanticField

from bot.core import trace
from bot.core.inputs import OptionInfo, available, explain, options_of
from bot.core.limits import check_rules
from bot.core.refusal import title_of
from bot.core.reply import Button, Reply, Tone, Verb, Visibility
from bot.core.services import Services
from bot.core.texts import Texts
from storage import tenant
from storage.errors import (
    AtelierError,
    MemberError,
    NotAllowed,
    OperatorError,
    Refused,
    RetryLater,
)
from storage.registry import Registry
from storage.rules import rules_of
from storage.schema import (
    Address,
    Frozen,
    Millis,
    Platform,
    Role,
    Source,
    new_id,
    role_at_least,
)
from storage.workspaces import Actor

I = TypeVar("I", bound=BaseModel)  # noqa: E741  (the input model of a command)

log = logging.getLogger(__name__)


class Who(Frozen):
    """The person behind an invocation or a press, in the platform's own ids."""

    platform: Platform
    workspace: str
    workspace_name: str = ""
    member: str
    member_name: str = ""
    role: Role = Role.MEMBER
    """As the platform's own permissions say; a workspace may map it otherwise."""
    roles: tuple[str, ...] = ()
    """Ids of platform roles (Discord) or groups (Slack): a tier or a right may hang on one."""
    entitlements: tuple[str, ...] = ()
    """SKUs the platform says this person has bought and still holds."""
    account_created_at: Millis | None = None
    """When the platform account was made; fresh ones get no free credits yet."""
    recalled: bool = False
    """Known by a session of the page and not by their platform: role, tier and name are read from
    the row as they are now, and nothing of the above is written to it."""


class Venue(Frozen):
    """What an adapter knows of the place something was said or pressed in. Threads are in the
    address."""

    age_restricted: bool = False
    """Discord's ``channel.nsfw``; False where a platform has no such thing."""
    private: bool = False
    """A direct message: nobody else reads along."""
    installed: bool = True
    """The workspace has us. False: a person brought us along (user-installed), so that no
    workspace's policy applies and the strict default does, and we cannot post by ourselves."""
    file_limit: int = 10 * 2**20
    """Largest file in bytes that the platform takes here."""


class Handle(Frozen):
    """How an adapter can still answer this very event: kept, encrypted, with the job's post."""

    visibility: Visibility = Visibility.PUBLIC
    """As the first acknowledgement chose: it cannot be changed later."""
    message: str | None = None
    """The platform's id of the message that will become the card, when it is known already."""
    token: SecretStr | None = None
    """Discord's interaction token, Slack's ``response_url``."""
    until: Millis = 0
    """When the token ends."""


class Invocation(Frozen):
    """One use of a command. ``values`` are raw: strings or already typed, as the platform has them.
    An option of kind *image* takes an :class:`~bot.core.uploads.Attachment`.

    ``key`` makes the same invocation delivered twice one job (the platform's interaction id).
    """

    command: str
    values: dict[str, Any]
    who: Who
    address: Address
    locale: str = "en"
    key: str
    venue: Venue = Venue()
    handle: Handle = Handle()


class Press(Frozen):
    """One press of a button. Everything about it is checked again: it proves nothing."""

    verb: str
    target: str
    who: Who
    address: Address
    locale: str = "en"
    key: str
    venue: Venue = Venue()
    handle: Handle = Handle()
    values: dict[str, Any] = PydanticField(default_factory=dict)
    """What was typed into the form this verb opened before; empty for the press itself."""


@dataclass(frozen=True)
class Context:
    """What a handler knows besides its input: who, where, in which language, and the services."""

    actor: Actor
    """The stored workspace, member and tier behind the invocation."""
    who: Who
    address: Address
    key: str
    texts: Texts
    services: Services
    catalog: Callable[[str], list[CommandInfo]]
    """Every command there is, for help."""
    venue: Venue = field(default_factory=Venue)
    handle: Handle = field(default_factory=Handle)
    values: Mapping[str, Any] = field(default_factory=dict)
    """A press's form values; empty for commands."""
    typed: bool = True
    """Whether the member typed the words this is about: into a command or a form, and not a
    button that takes up what somebody, or a model, wrote before."""
    taken: list[Source] = field(default_factory=list)
    """Uploads stored for this invocation; thrown away again when it comes to nothing."""
    counted: set[str] = field(default_factory=set)
    """What this invocation was charged for already, such as its place in the token bucket."""


Handler = Callable[[Context, I], Awaitable[Reply]]
Guard = Callable[[Context], Awaitable[None]]
"""Raises a ``MemberError`` when this member may not do this now."""
PressHandler = Callable[[Context, str], Awaitable[Reply]]
"""Gets the target id."""


@dataclass(frozen=True)
class Command(Generic[I]):
    """A name with an input model, guards and a handler."""

    name: str
    input: type[I]
    handler: Handler[I]
    guards: Sequence[Guard] = field(default=())
    visibility: Visibility = Visibility.PRIVATE
    """Who sees what it answers; adapters choose by it at the first acknowledgement. A command
    with a ``private`` flag option answers privately when that is set."""
    role: Role = Role.MEMBER
    """Who may use it. Platforms get it as a hint; :meth:`Core.dispatch` is the rule."""
    group: str = "more"
    """Its heading in `/help`: ``make``, ``mine``, ``review``, ``space`` or ``more``."""
    needs: str = ""
    """Without this in the registry (``references``, say) it can only refuse and is not offered."""


class CommandInfo(Frozen):
    """What a front end needs to offer a command: its help and its options, translated."""

    name: str
    help: str
    options: tuple[OptionInfo, ...]
    visibility: Visibility = Visibility.PRIVATE
    role: Role = Role.MEMBER
    group: str = "more"


def catalog_of(
    commands: Sequence[Command[Any]], texts: Texts, registry: Registry, *, all: bool = False
) -> list[CommandInfo]:
    """Commands as front ends offer them. Pure: the words and the input models are enough.

    ``all`` lists those too that no model here can serve.
    """
    return [
        CommandInfo(
            name=command.name,
            help=texts(f"command.{command.name}"),
            options=options_of(command.input, command.name, texts, registry),
            visibility=command.visibility,
            role=command.role,
            group=command.group,
        )
        for command in commands
        if all or available(command.needs, registry)
    ]


class Core:
    """The command core: adapters call :meth:`dispatch` and :meth:`press` and show the reply."""

    def __init__(
        self,
        services: Services,
        commands: Sequence[Command[Any]],
        presses: Mapping[Verb, PressHandler],
    ) -> None:
        self.services = services
        self.commands = {command.name: command for command in commands}
        self.presses = dict(presses)

    def catalog(self, locale: str) -> list[CommandInfo]:
        """Every command with its options, limits, choices and help, in the asked language."""
        texts = self.services.texts(locale)
        return catalog_of(list(self.commands.values()), texts, self.services.registry)

    async def dispatch(self, invocation: Invocation) -> Reply:
        """Validate, guard and run one invocation. Never raises: an error is a reply."""
        texts = self.services.texts(invocation.locale)
        taken: list[Source] = []

        async def run() -> Reply:
            command = self.commands.get(invocation.command)
            if command is None:
                raise _unknown(invocation.command, self.commands)
            context = await self._context(invocation, texts, taken)
            with tenant.within(context.actor.workspace.id):
                return await self._answer(command, context, invocation.values)

        known = invocation.command if invocation.command in self.commands else "unknown"
        return await self._timed(known, self._guarded(run, texts, taken))

    async def _answer(
        self, command: Command[Any], context: Context, raw: Mapping[str, Any]
    ) -> Reply:
        if not role_at_least(context.actor.member.role, command.role):
            raise NotAllowed("role_needed", role=context.texts(f"role.{command.role}"))
        await check_rules(context, command.name)
        try:
            values = command.input.model_validate(
                {k: v for k, v in raw.items() if v is not None and v != ""},
                context={"registry": self.services.registry},
            )
        except ValidationError as error:
            raise explain(error, self.services.registry) from error
        for guard in command.guards:
            await guard(context)
        return await command.handler(context, values)

    def problem(self, name: str, values: Mapping[str, Any], locale: str) -> tuple[str, str] | None:
        """The option whose value cannot be used ("" when it is not one), and why, in words.

        Only what needs no database: for a dialogue that can say it before it closes.
        """
        command, texts = self.commands.get(name), self.services.texts(locale)
        if command is None:
            return None
        try:
            command.input.model_validate(
                {k: v for k, v in values.items() if v is not None and v != ""},
                context={"registry": self.services.registry},
            )
        except ValidationError as error:
            loc = error.errors(include_url=False, include_input=False)[0]["loc"]
            no = explain(error, self.services.registry)
            return str(loc[0]) if loc else "", texts(f"error.{no.code}", **no.params)
        except MemberError as no:
            return "", texts(f"error.{no.code}", **no.params)
        return None

    async def press(self, press: Press) -> Reply:
        """Run one button press. Never raises: an error is a private reply."""
        texts = self.services.texts(press.locale)
        taken: list[Source] = []

        async def run() -> Reply:
            if press.verb not in self.presses:
                raise MemberError("button_unknown")
            context = await self._context(press, texts, taken)
            with tenant.within(context.actor.workspace.id):
                return await self.presses[Verb(press.verb)](context, press.target[:64])

        known = press.verb if press.verb in self.presses else "unknown"
        return await self._timed(known, self._guarded(run, texts, taken))

    async def spoken(self, who: Who, own: str) -> str:
        """The language of a card that everybody reads: the one its workspace has chosen, or else
        ``own``, the language of who asked."""
        try:
            actor = await self.services.actor(who)
        except AtelierError:
            log.warning("the workspace's language could not be read")
            return own
        return rules_of(actor.workspace.settings).locale or own

    async def _timed(self, name: str, answer: Awaitable[Reply]) -> Reply:
        trace.begin()
        began = time.perf_counter()
        reply = await answer
        seconds = time.perf_counter() - began
        self.services.metrics.answered(name, seconds, None if reply.job_id else reply.code)
        return reply

    async def _context(
        self, event: Invocation | Press, texts: Texts, taken: list[Source]
    ) -> Context:
        actor = await self.services.actor(event.who)
        return Context(
            actor=actor,
            who=event.who,
            address=event.address,
            key=event.key,
            texts=texts,
            services=self.services,
            catalog=self.catalog,
            venue=event.venue,
            handle=event.handle,
            values=event.values if isinstance(event, Press) else {},
            typed=isinstance(event, Invocation) or bool(event.values),
            taken=taken,
        )

    async def _guarded(
        self, run: Callable[[], Awaitable[Reply]], texts: Texts, taken: list[Source]
    ) -> Reply:
        """One of the three broad excepts: no traceback, banned word or secret gets past here.

        Uploads taken for what came to nothing are thrown away.
        """
        reply = await self._reply(run, texts)
        if reply.code is not None and reply.job_id is None:
            for source in taken:
                await asyncio.to_thread(self.services.blobs.delete, source.blob)
        return reply

    async def _reply(self, run: Callable[[], Awaitable[Reply]], texts: Texts) -> Reply:
        try:
            return await run()
        except MemberError as error:
            return error_reply(error, texts)
        except RetryLater:
            log.warning("a command met a passing fault", exc_info=True)
            return _sorry(texts("error.busy"), "busy")
        except OperatorError as error:
            log.error("%s", error)
            return _sorry(texts("error.operator"), "operator")
        except AtelierError:
            log.exception("an error of ours without a sentence")
            return _sorry(texts("error.operator"), "operator")
        except Exception:
            reference = new_id()[-8:]
            log.exception("bug %s", reference)
            return _sorry(texts("error.bug", reference=reference), "bug")


MOST_CHANNELS = 8
"""Channels that a refusal names."""


def _unknown(typed: str, known: Iterable[str]) -> MemberError:
    """For a name nobody knows: the one that was probably meant, if there is one."""
    near = get_close_matches(typed[:40].lower(), list(known), n=1, cutoff=0.7)
    if near:
        return MemberError("command_near", command=typed[:40], near=near[0])
    return MemberError("command_unknown", command=typed[:40])


def error_reply(error: MemberError, texts: Texts) -> Reply:
    """The private card that says no: the sentence for the code, and what to do about it."""
    helps = error.code == "self_harm_help"
    refused = error if isinstance(error, Refused) else None
    case_id = refused.case_id if refused is not None else None
    return Reply(
        title=title_of(error.code, type(error).__name__, texts),
        text=texts(f"error.{error.code}", **error.params),
        tone=Tone.INFO if helps else Tone.WARN,
        visibility=Visibility.PRIVATE,
        channels=tuple(str(error.params.get("channels", "")).split())[:MOST_CHANNELS],
        code=error.code,
        exit_code=error.exit_code,
        buttons=()
        if case_id is None
        else (Button(verb=Verb.APPEAL, target=case_id, label=texts("button.appeal")),),
        data={
            "code": error.code,
            "kind": type(error).__name__,
            "params": error.params,
            "verdict": refused.verdict if refused is not None else None,
            **({"case_id": case_id} if case_id is not None else {}),
        },
    )


def _sorry(text: str, code: str) -> Reply:
    return Reply(
        text=text,
        tone=Tone.BAD,
        visibility=Visibility.PRIVATE,
        code=code,
        exit_code=5,
        data={"code": code},
    )
