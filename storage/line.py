"""Who is next: the claim's order replayed on paper, for places in line and ETAs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.schema import Millis


@dataclass(frozen=True)
class Waiting:
    """A queued job as the claim sees it; ``served`` counters are virtual engine milliseconds."""

    job_id: str
    workspace_id: str
    member_id: str
    workspace_served: int
    member_served: int
    weight: int
    estimate_ms: Millis


def line_up(waiting: Sequence[Waiting]) -> list[Waiting]:
    """The order in which these would be claimed if nothing else arrived.

    Repeats the claim's rule: least served workspace, least served member, oldest; each pick
    charges its estimate to the workspace and, divided by the weight, to the member.
    """
    spaces = {w.workspace_id: w.workspace_served for w in waiting}
    members = {w.member_id: w.member_served for w in waiting}
    queues: dict[str, dict[str, list[Waiting]]] = {}
    for item in sorted(waiting, key=lambda w: w.job_id, reverse=True):
        queues.setdefault(item.workspace_id, {}).setdefault(item.member_id, []).append(item)
    order: list[Waiting] = []
    while queues:
        space = min(
            queues,
            key=lambda s: (
                spaces[s],
                min((members[m], q[-1].job_id) for m, q in queues[s].items()),
            ),
        )
        member = min(queues[space], key=lambda m: (members[m], queues[space][m][-1].job_id))
        pick = queues[space][member].pop()
        order.append(pick)
        spaces[space] += max(1, pick.estimate_ms)
        members[member] += max(1, pick.estimate_ms) // max(1, pick.weight)
        if not queues[space][member]:
            del queues[space][member]
            if not queues[space]:
                del queues[space]
    return order
