"""`atelier verify FILE`: was this picture made here? Exit code 0 whatever the answer."""

from __future__ import annotations

import sys
from pathlib import Path

from bot.cli.tables import opened, print_json
from bot.core.texts import texts_for
from bot.core.verifying import verified
from bot.settings import load_settings
from moderation.marks.identity import authority
from moderation.marks.lookup import lookup_in
from moderation.marks.verify import Checked, check, decoded, suffix_of
from storage.database import Database

EXIT_USAGE = 2
MAX_BYTES = 50 * 2**20


def run(path: Path, *, json: bool) -> int:
    """Read a file's marks and print what they say."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("larger than 50 MB")
        data = path.read_bytes()
        suffix = suffix_of(data)
        if suffix is None:
            raise ValueError("not a PNG, WebP or JPEG picture")
        image = decoded(data)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if json:
            print_json({"ok": False, "code": "file_unreadable", "message": reason})
        else:
            sys.stderr.write(f"{path} cannot be read: {reason}.\n")
        return EXIT_USAGE
    settings = load_settings()

    def look(database: Database) -> Checked:
        return check(data, suffix, image, authority(settings.home), lookup_in(database))

    checked = opened(look)
    if json:
        print_json({"ok": True, **checked.model_dump(mode="json")})
        return 0
    reply = verified(checked, texts_for("en"))
    lines = [reply.title, reply.text, *(f"  {f.label}: {f.value}" for f in reply.fields)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
