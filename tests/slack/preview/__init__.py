"""Block Kit payloads as a picture: a small page of ours, to look at what we send.

    python -m tests.slack.preview out.png [zh]

It draws the blocks this adapter uses the way Slack's own client does, roughly; it is for eyes, not
for tests of Slack.
"""
