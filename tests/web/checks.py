"""What several test files ask of a page."""

from __future__ import annotations

from html.parser import HTMLParser

import httpx

from tests.web.fakes import JSON


class Outline(HTMLParser):
    """The tags of a page and everything about them that could act."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.bad: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        facts = dict(attrs)
        if tag == "script" and not (
            facts.get("src", "") == "/static/js/page.js" or facts.get("type") == "application/json"
        ):
            self.bad.append(f"script {facts}")
        if tag in ("iframe", "object", "embed", "base"):
            self.bad.append(tag)
        for name, value in facts.items():
            if name.startswith("on") or name in ("style", "srcdoc"):
                self.bad.append(f"{tag} {name}")
            if name in ("href", "src", "action", "formaction") and not (value or "").startswith(
                ("/", "#", "")[:2]
            ):
                self.bad.append(f"{tag} {name}={value}")


async def imagine(page: httpx.AsyncClient, prompt: str = "a red apple", **more: str) -> str:
    fields = {"command": "imagine", "v.prompt": prompt, "v.seed": "7"} | more
    answer = await page.post("/invoke", data=fields, headers=JSON)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["job"])
