"""Who is next: the claim's order replayed on paper, for places in line and ETAs. Pure."""

from __future__ import annotations

import heapq
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
    queues: dict[str, list[Waiting]] = {}
    for item in sorted(waiting, key=lambda w: w.job_id, reverse=True):
        queues.setdefault(item.member_id, []).append(item)
    # A heap of members in each workspace and one of workspaces; a pick changes one key of each,
    # so 500 jobs of 500 members take milliseconds, not the square of it.
    inner: dict[str, list[tuple[int, str, str]]] = {}
    for member, queue in queues.items():
        heap = inner.setdefault(queue[-1].workspace_id, [])
        heapq.heappush(heap, (members[member], queue[-1].job_id, member))
    outer = [(spaces[space], *heap[0][:2], space) for space, heap in inner.items()]
    heapq.heapify(outer)
    order: list[Waiting] = []
    while outer:
        *_, space = heapq.heappop(outer)
        *_, member = heapq.heappop(inner[space])
        pick = queues[member].pop()
        order.append(pick)
        charge = max(1, pick.estimate_ms)
        spaces[space] += charge
        members[member] += charge // max(1, pick.weight)
        if queues[member]:
            heapq.heappush(inner[space], (members[member], queues[member][-1].job_id, member))
        if inner[space]:
            heapq.heappush(outer, (spaces[space], *inner[space][0][:2], space))
    return order
