"""The web page and its API: server-rendered cards, live by server-sent events."""
