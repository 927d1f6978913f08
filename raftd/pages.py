"""What the web server serves: metrics, probes, and a live page of the group.

``/livez`` speaks of this process alone: whoever restarts what is not alive must not restart a node
for want of a quorum. ``/readyz`` says whether the node serves; it fails as soon as a stop begins.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from importlib import resources
from typing import Final

from raftd.panorama import Panorama
from raftd.parts import Parts
from raftd.views import health_reply
from raftd.vitals import Vitals
from raftd.web import Answer, WebServer

_METRICS_KIND: Final = "text/plain; version=0.0.4; charset=utf-8"


def add_pages(
    server: WebServer,
    parts: Parts,
    vitals: Vitals,
    panorama: Panorama,
    metrics: Callable[[], str],
) -> None:
    """Serve them."""
    page, policy = load_page()

    async def index() -> Answer:
        headers = f"Content-Security-Policy: {policy}\r\n"
        return Answer(200, page, "text/html; charset=utf-8", headers)

    async def scrape() -> Answer:
        return Answer(200, metrics().encode(), _METRICS_KIND)

    async def alive() -> Answer:
        if vitals.moving:
            return Answer(200, b"alive\n")
        return Answer(503, b"the node stands still: no ticks, or a disk that does not answer\n")

    async def ready() -> Answer:
        reply = health_reply(parts, 0)
        if parts.node.engine.closing:
            return Answer(503, b"stopping\n")
        if reply.ready:
            return Answer(200, b"ready\n")
        return Answer(503, ("\n".join(reply.health.reasons) or "not ready").encode() + b"\n")

    async def status() -> Answer:
        shown = await panorama.look()
        return Answer(200, json.dumps(shown).encode(), "application/json")

    server.routes.update(
        {
            "/": index,
            "/metrics": scrape,
            "/livez": alive,
            "/readyz": ready,
            "/status.json": status,
            "/status": status,
        }
    )


def load_page() -> tuple[bytes, str]:
    """Return the live page, and the policy that lets a browser run its own code and no other."""
    page = resources.files("raftd").joinpath("page.html").read_bytes()
    hashes = {
        tag: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(found).digest()).decode()}'"
            for found in re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), page, re.DOTALL)
        )
        for tag in (b"script", b"style")
    }
    return page, (
        f"default-src 'none'; script-src {hashes[b'script']}; style-src {hashes[b'style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
