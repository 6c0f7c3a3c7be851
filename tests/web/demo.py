"""The page over a scripted studio: `python -m tests.web.demo [port]`, to look at and to try."""

from __future__ import annotations

import sys

import uvicorn

from bot.adapters.web.app import make_app
from bot.adapters.web.live import WebPresenter
from tests.web.fakes import FakeStudio, make_core

TOKEN = "demo"


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8700
    presenter = WebPresenter()
    studio = FakeStudio(presenter, pace=0.15)
    app = make_app(make_core(studio), presenter, token=TOKEN, reader=studio)
    print(f"http://127.0.0.1:{port}/?token={TOKEN}", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False)


if __name__ == "__main__":
    main()
