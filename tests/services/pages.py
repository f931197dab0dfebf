"""Pages of the console in a browser."""

from __future__ import annotations

import httpx
from playwright.sync_api import BrowserContext, Page

from console.accounts import SESSION_COOKIE

# The first drawing of a page takes 5 to 12 seconds on two cores.
SLOW = 60_000


def page_of(client: httpx.Client, context: BrowserContext) -> Page:
    """An empty page of whoever is signed in as `client`; `context` gets the client's session."""
    token, address = client.cookies[SESSION_COOKIE], str(client.base_url)
    context.add_cookies([{"name": SESSION_COOKIE, "value": token, "url": address}])
    page = context.new_page()
    page.set_default_timeout(SLOW)
    return page
