"""Every error we raise on purpose, named by who acts next.

    AtelierError
    ├── MemberError            shown to the member: a stable code and a translated sentence
    │   ├── BadInput           what was typed is wrong           (exit code 2)
    │   ├── Refused            policy says no                    (exit code 3)
    │   ├── LimitReached       no credits, queue full, too many  (exit code 4)
    │   ├── NotAllowed         not yours to do                   (exit code 2)
    │   └── NotFound           no such job, model, thread        (exit code 2)
    ├── RetryLater             back to the queue: a passing fault
    └── OperatorError          the log and ``atelier doctor``: a cure for whoever runs us

Anything else is our bug: logged with a reference, shown as one calm sentence (exit code 5).
"""

from __future__ import annotations

from typing import Any


class AtelierError(Exception):
    """The root of the tree."""


class MemberError(AtelierError):
    """Shown to the member. ``code`` selects the sentence, ``params`` fill its blanks.

    Codes are stable, lower-case and dotted-free (``prompt_empty``); sentences live with the bot
    in each language. ``params`` must never hold a matched term, a path or a secret.
    """

    exit_code = 2

    def __init__(self, code: str, **params: str | int | float) -> None:
        super().__init__(code)
        self.code = code
        self.params = params


class BadInput(MemberError):
    """What was typed cannot be done as written; nothing was stored or charged."""


class Refused(MemberError):
    """Policy says no; ``verdict`` is what it found, without the details only moderators see.

    ``case_id`` is the case that a fixed rule's strike for it can be appealed in.
    """

    exit_code = 3

    def __init__(
        self,
        code: str,
        *,
        verdict: dict[str, Any] | None = None,
        case_id: str | None = None,
        **params: str | int | float,
    ) -> None:
        super().__init__(code, **params)
        self.verdict = verdict
        self.case_id = case_id


class LimitReached(MemberError):
    """No credits, a full queue, too many at once: possible later or with more credits."""

    exit_code = 4


class NotAllowed(MemberError):
    """Someone else's job, or a right the member does not have."""


class NotFound(MemberError):
    """No such thing in this workspace; foreign things look the same as missing ones."""


class RetryLater(AtelierError):
    """A passing fault (database busy, connection lost): the queue tries again."""


class OperatorError(AtelierError):
    """Something whoever runs the instance must mend; ``cure`` says how in one line."""

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(f"{problem}: {cure}")
        self.problem = problem
        self.cure = cure
