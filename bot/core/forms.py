"""Forms that a button opens: private, titled by their verb, sent back to the same button."""

from __future__ import annotations

from bot.core.reply import Form, FormField, Reply, Verb, Visibility
from bot.core.texts import Texts


def form_reply(texts: Texts, verb: Verb, target: str, fields: tuple[FormField, ...]) -> Reply:
    """The form of a verb: its title is the sentence ``form.<verb>``."""
    title = texts(f"form.{verb}")
    form = Form(title=title, verb=verb, target=target, submit=texts("form.submit"), fields=fields)
    return Reply(visibility=Visibility.PRIVATE, title=title, form=form)
