"""Dialogues and the Home tab: forms built from a command's options or from a reply's form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bot.adapters.slack import limits
from bot.adapters.slack.buttons import actions
from bot.adapters.slack.escape import fit
from bot.adapters.slack.render import words_for
from bot.adapters.slack.rich import Block, plain, section
from bot.core.command import CommandInfo
from bot.core.inputs import OptionInfo
from bot.core.reply import Form, FormField, Reply
from bot.core.texts import Texts
from storage.schema import Frozen

FORM = "form"
"""``callback_id`` of every dialogue: what it is for is in its metadata."""
_FIELD = "option."
_VALUE = "value"
_FILES = ["png", "jpg", "jpeg", "webp"]
_TEXTS = ["md", "txt"]
_OUR_CHOICE = " "
"""A select cannot hold an empty value; this one means "none chosen"."""


class Ticket(Frozen):
    """What a dialogue carries: where its answer goes and what it fills. Proves nothing."""

    command: str = ""
    verb: str = ""
    target: str = ""
    channel: str = ""
    thread: str | None = None
    key: str = ""
    option: str = ""
    """An option that is filled already, by ``file``: no input is shown for it."""
    file: str = ""
    """The Slack file that fills it: an id, so that its address is asked from Slack again."""


def opening(texts: Texts, ticket: Ticket) -> dict[str, Any]:
    """What is shown at once, while the real dialogue is fetched: a trigger lives three seconds."""
    block = {"type": "rich_text", "elements": [section(plain(texts("slack.opening")))]}
    return _view(texts("slack.opening"), texts, [block], ticket, submit=None)


def closing(reply_blocks: Sequence[Block], title: str, texts: Texts) -> dict[str, Any]:
    """A dialogue that only says something (why there is no form)."""
    return _view(title, texts, list(reply_blocks), Ticket(), submit=None)


def command_form(info: CommandInfo, texts: Texts, ticket: Ticket) -> dict[str, Any]:
    """A dialogue with every option of a command."""
    shown = [option for option in info.options if option.name != ticket.option]
    blocks = [_input(_field_of(option), texts) for option in shown]
    return _view(f"/{info.name}", texts, blocks, ticket, submit=texts("slack.send"))


def reply_form(form: Form, texts: Texts, ticket: Ticket) -> dict[str, Any]:
    """The dialogue a reply asks for."""
    filled = ticket.model_copy(
        update={"command": form.command, "verb": str(form.verb or ""), "target": form.target}
    )
    blocks = [_input(item, texts) for item in form.fields]
    return _view(form.title, texts, blocks, filled, submit=form.submit)


def values_of(view: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed and chosen, by option; files as Slack describes them."""
    values: dict[str, Any] = {}
    for block_id, inputs in view.get("state", {}).get("values", {}).items():
        if not block_id.startswith(_FIELD):
            continue
        state = inputs.get(_VALUE, {})
        name = block_id.removeprefix(_FIELD)
        if state.get("type") == "static_select":
            chosen = (state.get("selected_option") or {}).get("value", "")
            values[name] = "" if chosen == _OUR_CHOICE else chosen
        elif state.get("type") == "checkboxes":
            values[name] = "true" if state.get("selected_options") else "false"
        elif state.get("type") == "file_input":
            values[name] = next(iter(state.get("files") or []), None)
        else:
            values[name] = state.get("value") or ""
    return values


def block_id(option: str) -> str:
    """The input of an option in a dialogue."""
    return f"{_FIELD}{option}"


def ticket_of(view: Mapping[str, Any]) -> Ticket:
    """The ticket of a submitted dialogue; an empty one when it is junk."""
    try:
        return Ticket.model_validate_json(view.get("private_metadata") or "{}")
    except ValueError:
        return Ticket()


def home(
    credits: Reply,
    queue: Reply,
    cards: Sequence[Reply],
    catalog: Sequence[CommandInfo],
    locale: str,
    config: Reply | None = None,
) -> dict[str, Any]:
    """The Home tab: what one may spend, what waits, what was made, what can be typed.

    ``config`` is what `/config` says to this person: its groups with their buttons, or a no.
    """
    texts = words_for(locale)
    blocks: list[Block] = [
        _title(texts("slack.home.title")),
        _line(texts("slack.home.welcome")),
        _title(texts("slack.home.credits")),
        {"type": "section", "fields": [
            {"type": "plain_text", "text": f"{fact.label}\n{fact.value}"[: limits.FIELD]}
            for fact in credits.fields[: limits.FIELDS]
        ] or [{"type": "plain_text", "text": credits.text[: limits.FIELD] or "–"}]},
        _title(texts("slack.home.queue")),
        _line(queue.text),
        {"type": "divider"},
        _title(texts("slack.home.history")),
    ]  # fmt: skip
    if not cards:
        blocks.append(_line(texts("history.none")))
    for card in cards[:10]:
        blocks.append(_entry(card, texts))
    blocks += [
        {"type": "divider"},
        _title(texts("slack.home.settings")),
        _line(texts("slack.home.language")),
        *_groups(config, texts),
        _title(texts("slack.home.commands")),
    ]
    lines = [section(plain(f"/{i.name}", code=True), plain(f"  {i.help}")) for i in catalog]
    items = {"type": "rich_text_list", "style": "bullet", "indent": 0, "elements": lines}
    blocks.append({"type": "rich_text", "elements": [items]})
    return {"type": "home", "blocks": blocks[: limits.VIEW_BLOCKS]}


def _groups(config: Reply | None, texts: Texts) -> list[Block]:
    """A line for each group of settings: what differs from the defaults, and the dialogue."""
    if config is None or config.code is not None or not config.buttons:
        return []
    blocks = [_line(texts("slack.home.admin"))]
    for fact, button in zip(config.fields, config.buttons, strict=False):
        (drawn,) = actions([button], texts)["elements"]
        drawn["text"] = {"type": "plain_text", "text": texts("slack.home.change")}
        drawn["accessibility_label"] = fit(f"{texts('slack.home.change')}: {button.label}", 75)
        blocks.append(_line(f"{fact.label}\n{fit(fact.value, 600)}") | {"accessory": drawn})
    return blocks


def _entry(card: Reply, texts: Texts) -> Block:
    text = fit(f"{card.title} · {card.prompt}", 300)
    return {
        "type": "section",
        "text": {"type": "plain_text", "text": text},
        "accessory": {
            "type": "button",
            "text": {"type": "plain_text", "text": texts("slack.home.show")},
            "action_id": "press.show.0",
            "value": card.job_id or "",
        },
    }


def _title(text: str) -> Block:
    return {"type": "header", "text": {"type": "plain_text", "text": fit(text, 150)}}


def _line(text: str) -> Block:
    return {
        "type": "section",
        "text": {"type": "plain_text", "text": fit(text, limits.SECTION) or "–"},
    }


def _field_of(option: OptionInfo) -> FormField:
    return FormField(
        name=option.name, label=option.help, kind=option.kind, value="", help=_hint(option),
        required=option.required, choices=option.choices, minimum=option.minimum,
        maximum=option.maximum,
    )  # fmt: skip


def _hint(option: OptionInfo) -> str:
    """How it is typed in a command, with its default and its range: ``steps:20 (1–100)``."""
    if option.kind in ("image", "file") or option.required:
        return ""
    default = "" if option.kind == "flag" else option.default
    said = f"{option.name}:{default or '…'}"
    if option.minimum is not None and option.maximum is not None and option.maximum < 1e6:
        said += f" ({option.minimum:g}–{option.maximum:g})"
    return said


def _input(item: FormField, texts: Texts) -> Block:
    block: Block = {
        "type": "input",
        "block_id": block_id(item.name),
        "optional": not item.required,
        "label": {"type": "plain_text", "text": fit(item.label, limits.INPUT_LABEL) or item.name},
        "element": _element(item, texts),
    }
    if item.help:
        block["hint"] = {"type": "plain_text", "text": fit(item.help, limits.INPUT_LABEL)}
    return block


def _element(item: FormField, texts: Texts) -> dict[str, Any]:
    if item.kind == "choice" and item.choices:
        return _select(item, texts)
    if item.kind == "flag":
        option = {"text": {"type": "plain_text", "text": texts("slack.yes")}, "value": "true"}
        box: dict[str, Any] = {"type": "checkboxes", "action_id": _VALUE, "options": [option]}
        if item.value.lower() == "true":
            box["initial_options"] = [option]
        return box
    if item.kind == "image":
        return {"type": "file_input", "action_id": _VALUE, "filetypes": _FILES, "max_files": 1}
    if item.kind == "file":
        return {"type": "file_input", "action_id": _VALUE, "filetypes": _TEXTS, "max_files": 1}
    element: dict[str, Any] = {"type": "plain_text_input", "action_id": _VALUE}
    if item.kind == "number":
        element = {"type": "number_input", "action_id": _VALUE, "is_decimal_allowed": True}
        for name, bound in (("min_value", item.minimum), ("max_value", item.maximum)):
            if bound is not None:
                element[name] = f"{bound:g}"
    elif item.kind == "long":
        element |= {"multiline": True, "max_length": limits.INPUT_TEXT}
    if item.value:
        element["initial_value"] = item.value[: limits.INPUT_TEXT]
    return element


def _select(item: FormField, texts: Texts) -> dict[str, Any]:
    options = [_option(choice, texts) for choice in item.choices[: limits.SELECT]]
    element: dict[str, Any] = {"type": "static_select", "action_id": _VALUE, "options": options}
    chosen = [o for o in options if o["value"] == (item.value or _OUR_CHOICE)]
    if chosen:
        element["initial_option"] = chosen[0]
    return element


def _option(choice: str, texts: Texts) -> dict[str, Any]:
    label = choice or texts("slack.any")
    return {
        "text": {"type": "plain_text", "text": fit(label, limits.OPTION_LABEL)},
        "value": choice[: limits.OPTION_VALUE] or _OUR_CHOICE,
    }


def _view(
    title: str, texts: Texts, blocks: list[Block], ticket: Ticket, *, submit: str | None
) -> dict[str, Any]:
    data = ticket.model_dump(mode="json", exclude_defaults=True)
    view: dict[str, Any] = {
        "type": "modal",
        "callback_id": FORM,
        "title": {"type": "plain_text", "text": fit(title, limits.VIEW_TITLE)},
        "close": {"type": "plain_text", "text": fit(texts("slack.close"), limits.VIEW_TITLE)},
        "blocks": blocks[: limits.VIEW_BLOCKS],
        "private_metadata": json.dumps(data)[: limits.METADATA],
    }
    if submit is not None:
        view["submit"] = {"type": "plain_text", "text": fit(submit, limits.VIEW_TITLE)}
    return view
