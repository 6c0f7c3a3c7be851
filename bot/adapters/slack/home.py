"""The Home tab, and what we suggest to somebody who opens a conversation with us."""

from __future__ import annotations

from bot.adapters.slack import views
from bot.adapters.slack.calls import asked
from bot.adapters.slack.desk import Desk
from bot.adapters.slack.render import words_for
from bot.core.cards import timeline
from bot.core.command import Invocation
from bot.core.reply import Reply
from storage.schema import Address, Platform, new_id


async def show_home(desk: Desk, member: str) -> None:
    """Draw the tab for one person: balance, line, latest jobs, settings, commands.

    The settings of the workspace are there for whom `/config` itself lets in, and each button is
    checked again when it is pressed and when its dialogue comes back.
    """
    person = await desk.people.find(member)
    address = Address(platform=Platform.SLACK, workspace=desk.workspace, channel="")

    async def said(command: str) -> Reply:
        if command not in desk.core.commands:
            return Reply()
        return await desk.core.dispatch(
            Invocation(
                command=command, values={}, who=person.who, address=address, locale=person.locale,
                key=new_id(),
            )
        )  # fmt: skip

    services = desk.core.services
    actor = await services.actor(person.who)
    cards = await timeline(services, actor, locale=person.locale, limit=10)
    view = views.home(
        await said("credits"), await said("queue"), list(reversed(cards)),
        desk.core.catalog(person.locale), person.locale, await said("config"),
    )  # fmt: skip
    await asked(desk.client.views_publish(user_id=member, view=view))


def suggested(locale: str) -> tuple[str, list[dict[str, str]]]:
    """A title, and prompts of which one press sends the message."""
    texts = words_for(locale)
    prompts = [
        {"title": texts(f"slack.prompt.{name}"), "message": texts(f"slack.prompt.{name}_message")}
        for name in ("picture", "question", "help")
    ]
    return texts("slack.prompt.title"), prompts
