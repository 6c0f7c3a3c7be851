"""`atelier moderation sealed`: what the operator has to report, listed; one record opened."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from bot.cli.tables import home_here, opened, print_json
from storage import decisions, disabled
from storage.clock import now_ms
from storage.database import Database
from storage.vault import Vault

REPORTING = (
    "Report it: in the US to NCMEC's CyberTipline (report.cybertip.org), elsewhere to a hotline "
    "of inhope.org. Opening a record is written into the audit log."
)


def run_sealed(record_id: str, *, json: bool) -> int:
    """List sealed records, or open the one named. 0; 5 when its key is another one.

    Raises ``NotFound('record_unknown')``.
    """
    return _open(record_id, json=json) if record_id else _list(json=json)


def _list(*, json: bool) -> int:
    rows, out = opened(
        lambda database: (database.read(decisions.sealed), database.read(disabled.listed))
    )
    if json:
        print_json({"ok": True, "records": rows, "disabled": out})
        return 0
    for row in rows:
        at, until = (_day(row[name]) for name in ("at", "until"))
        sys.stdout.write(
            f"{row['id']}  {at}  {row['surface']:8} {row['workspace']}  {row['member'] or '-'}  "
            f"pdq {row['pdq'] or '-'}  kept until {until}\n"
        )
    sys.stdout.write(f"{len(rows)} sealed records. {REPORTING}\n")
    for one in out:
        sys.stdout.write(f"disabled: {one['id']}  {one['workspace']}  {one['member']}\n")
    if out:
        sys.stdout.write(
            f"{len(out)} members can make nothing until somebody decides: the owner with /strikes, "
            "or you with: atelier moderation enable ID\n"
        )
    return 0


def run_enable(member_id: str, *, json: bool) -> int:
    """Let a disabled member make things again; written into the audit log. 0.

    Raises ``NotFound('member_enabled')``.
    """
    person = opened(lambda database: database.write(disabled.enable, member_id, now=now_ms()))
    if json:
        print_json({"ok": True, "id": person.id})
    else:
        sys.stdout.write(f"{person.external_id} can make things again.\n")
    return 0


def _open(record_id: str, *, json: bool) -> int:
    def read(database: Database) -> str:
        return database.write(decisions.open_sealed, record_id, now=now_ms())

    words = Vault.open(home_here()).unseal(opened(read), record_id)
    if json:
        print_json({"ok": words is not None, "id": record_id, "text": words})
    elif words is None:
        sys.stderr.write("It was sealed with another key than the one of this state folder.\n")
    else:
        sys.stdout.write(f"{words}\n\n{REPORTING}\n")
    return 0 if words is not None else 5


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, tz=UTC).date().isoformat()
