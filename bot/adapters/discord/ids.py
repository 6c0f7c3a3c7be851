"""What a button carries: a verb and an opaque id, and nothing that is believed.

The ids are our rows' ULIDs (80 random bits); the core checks owner, workspace, role and state at
every press, so a changed or foreign id changes nothing, and no key has to outlive a restart.
"""

from __future__ import annotations

from bot.core.reply import Button, Form

PRESS = r"at1:(?P<verb>[^:?]{1,40})(?P<ask>\??):(?P<target>.{0,50})"
"""Pattern of a button's ``custom_id``; ``?`` means that a question comes first."""
FORM = "at1form:"
"""Prefix of a dialogue's ``custom_id``."""
SETUP = "at1setup:"
"""Prefix of the controls of `/setup`."""
_LONGEST = 100


def press_id(verb: str, target: str, *, ask: bool = False) -> str:
    """The ``custom_id`` of a button, at most 100 characters."""
    return f"at1:{verb}{'?' if ask else ''}:{target}"[:_LONGEST]


def button_id(button: Button) -> str:
    """The ``custom_id`` of one of the core's buttons."""
    return press_id(str(button.verb), button.target, ask=bool(button.confirm))


def form_id(form: Form) -> str:
    """The ``custom_id`` of a dialogue: where its values go, so that a restart loses nothing."""
    if form.verb is not None:
        return f"{FORM}press:{form.verb}:{form.target}"[:_LONGEST]
    return f"{FORM}command:{form.command}:"[:_LONGEST]


def parse_form(custom_id: str) -> tuple[str, str, str] | None:
    """``("press" | "command", name, target)`` of a dialogue's id, or None when it is not ours."""
    if not custom_id.startswith(FORM):
        return None
    parts = custom_id.removeprefix(FORM).split(":", 2)
    if len(parts) != 3 or parts[0] not in ("press", "command"):
        return None
    return parts[0], parts[1], parts[2]
