"""`atelier workspace list` and `delete`: who uses this studio, and taking one away whole."""

from __future__ import annotations

import sys

from bot.cli.tables import blobs_here, opened, print_json
from storage import removal, workspaces
from storage.clock import now_ms
from storage.database import Database
from storage.models import Workspace

EXIT_REFUSED = 3
EXIT_BUSY = 4


def run_list(*, json: bool) -> int:
    """Print every workspace. 0 always."""
    rows = opened(lambda database: database.read(removal.listed))
    if json:
        print_json({"ok": True, "workspaces": rows})
        return 0
    for row in rows:
        note = "  (the platform has taken us out)" if row["left"] else ""
        note = "  (deleted)" if row["deleted"] else note
        sys.stdout.write(f"{row['id']}  {row['platform']:8} {row['name'] or '-'}{note}\n")
    return 0


def run_delete(workspace: str, *, yes: bool, json: bool) -> int:
    """Delete a workspace; 3 when the operator did not agree, 4 while jobs are running there.

    Raises ``NotFound('workspace_unknown')``.
    """

    def named(database: Database) -> tuple[str, str]:
        found = database.read(workspaces.named, workspace)
        space = database.read(lambda session: session.get_one(Workspace, found))
        return found, space.name or space.external_id

    space_id, name = opened(named)
    if not yes and not _agreed(name, json=json):
        return EXIT_REFUSED
    done = opened(lambda database: database.write(removal.remove, space_id, now=now_ms()))
    blobs = blobs_here()
    for blob in done.blobs:
        blobs.delete(blob)
    told = {
        "jobs": done.jobs, "generations": done.generations, "members": done.members,
        "learnt": done.learnt, "documents": done.documents, "files": len(done.blobs),
        "running": done.open_jobs,
    }  # fmt: skip
    if json:
        print_json({"ok": not done.open_jobs, **told})
    elif done.open_jobs:
        sys.stdout.write(
            f"{done.open_jobs} jobs are running there. They were asked to stop; try again soon.\n"
        )
    else:
        sys.stdout.write(
            f"{name} is gone: {done.jobs} jobs, {done.generations} pictures and answers of "
            f"{done.members} people, {done.documents} documents, {done.learnt} labels and heads, "
            f"{len(done.blobs)} files.\n"
        )
    return EXIT_BUSY if done.open_jobs else 0


def _agreed(name: str, *, json: bool) -> bool:
    """Ask at a terminal; elsewhere nobody can answer."""
    if json or not sys.stdin.isatty():
        sys.stderr.write("Deleting a workspace needs --yes.\n")
        return False
    sys.stderr.write(f"Delete all of {name} for good? Type its name: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip() == name
