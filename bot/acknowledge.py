"""How long a command waits for its acknowledgement while many arrive: measure *f* of the bench.

An adapter acknowledges before it asks the core, so what an acknowledgement waits for is the event
loop: everything the core does on it for the commands before. This plays an adapter that does just
that, over a real core. Over a platform's own library: ``python -m tests.bench.acknowledge``.
"""

from __future__ import annotations

import asyncio

from bot.core.command import Core, Invocation, Who
from storage.schema import Address, Platform, new_id

TARGET_P99_S = 0.25
"""What we promise with 100 commands in one second on one core; a platform gives 3 s."""


async def measure(core: Core, *, commands: int = 100, within_s: float = 1.0) -> list[float]:
    """Seconds from each command's arrival to its acknowledgement, sorted.

    Commands arrive evenly over ``within_s``, each by a member of their own in one workspace, and
    are dispatched in full; jobs stay queued. Use a scratch state folder.
    """
    loop = asyncio.get_running_loop()
    start = loop.time() + 0.05
    waits: list[float] = []
    running: set[asyncio.Task[None]] = set()
    done = asyncio.Event()

    async def handle(number: int, due: float) -> None:
        waits.append(loop.time() - due)  # here an adapter tells the platform "I heard you"
        await core.dispatch(
            Invocation(
                command="imagine" if number % 2 else "ask",
                values={"prompt": f"a red apple on table {number}"},
                who=Who(
                    platform=Platform.FAKE, workspace="bench", member=f"member-{number}",
                    member_name=f"Member {number}",
                ),
                address=Address(platform=Platform.FAKE, workspace="bench", channel="general"),
                key=new_id(),
            )
        )  # fmt: skip

    def arrive(number: int) -> None:
        # Due when the timer was set for, not when the loop got to it: that is the waiting.
        task = asyncio.ensure_future(handle(number, start + number * within_s / commands))
        running.add(task)
        task.add_done_callback(finished)

    def finished(one: asyncio.Task[None]) -> None:
        running.discard(one)
        if len(waits) == commands and not running:
            done.set()

    for number in range(commands):
        loop.call_at(start + number * within_s / commands, arrive, number)
    await done.wait()
    return sorted(waits)


def percentile(sorted_values: list[float], share: float) -> float:
    """The value that ``share`` (0 to 1) of the sorted values do not exceed."""
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]
