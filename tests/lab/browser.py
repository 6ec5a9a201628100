"""The person at the sign-in page: opens it, reads the form, fills in what it asks for, sends it.

Runs as a program on a lab host (it has that host's network), with the standard library alone. Arguments: the page's
address; standard input: JSON with `ca_pem` and `answers`, the values of fields by name. Each page's form is sent back
with its hidden fields and the answers, until a page asks nothing more; then its text is printed, exit code 0. Exit
code 1: a page refused the answers or the pages never ended.
"""

from __future__ import annotations

import json
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from http.cookiejar import CookieJar

PAGES_LIMIT = 6
SECONDS = 20


class Page(HTMLParser):
    """The first form of a page, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.text: list[str] = []
        self._in_form = False
        self._silent = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag in ("script", "style"):
            self._silent += 1
        if tag == "form" and self.action is None:
            self.action, self._in_form = found.get("action") or "", True
        if self._in_form and tag in ("input", "button") and (name := found.get("name")):
            # Of several buttons a person presses the first one.
            self.fields.setdefault(name, found.get("value") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._in_form = False
        if tag in ("script", "style"):
            self._silent -= 1

    def handle_data(self, data: str) -> None:
        if not self._silent and data.strip():
            self.text.append(data.strip())


def main() -> int:
    address = sys.argv[1]
    orders = json.load(sys.stdin)
    # The server's own authority is all we trust. Names are not checked, as PROTOCOL.md §5.4 has it for agents.
    context = ssl.create_default_context(cadata=orders["ca_pem"])
    context.check_hostname = False
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), urllib.request.HTTPCookieProcessor(CookieJar())
    )
    body: bytes | None = None
    for _ in range(PAGES_LIMIT):
        try:
            with opener.open(address, body, timeout=SECONDS) as response:
                address, html = response.geturl(), response.read(1 << 20).decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            print(f"HTTP {error.code}: {' '.join(Page(error.read().decode('utf-8', 'replace')).text)}")
            return 1
        page = Page(html)
        if page.action is None or not page.fields:
            print(" ".join(page.text))
            return 0
        address = urllib.parse.urljoin(address, page.action)
        known = {name: value for name, value in orders["answers"].items() if name in page.fields}
        body = urllib.parse.urlencode({**page.fields, **known}).encode()
    print(f"the pages never ended; the last one said: {' '.join(page.text)}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
