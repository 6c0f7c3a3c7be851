"""Options that many commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", min=0.1, help="Give up and cancel after so many seconds."),
]
