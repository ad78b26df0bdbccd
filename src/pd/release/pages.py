"""The page of a release: words and drawings, and nothing that runs, fetches or embeds."""

import re
from html.parser import HTMLParser

_TAGS = {
    "script",
    "iframe",
    "frame",
    "object",
    "embed",
    "form",
    "base",
    "img",
    "image",
    "audio",
    "video",
    "source",
    "use",
    "animate",
    "set",
    "foreignobject",
}
_FETCHES = re.compile(r"@import|url\s*\(|expression\s*\(", re.IGNORECASE)


def page_fault(text: str) -> str | None:
    """What in a page runs, fetches or embeds something; None when nothing does."""
    page = _Page()
    page.feed(text)
    page.close()
    return page.fault


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fault: str | None = None
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._style = tag == "style"
        if tag in _TAGS:
            self.fault = f"holds <{tag}>"
        for name, value in attrs:
            local = name in ("href", "xlink:href") and (value or "").strip().startswith(("#", "data:,"))
            if name.startswith("on") or (name == "http-equiv" and value != "Content-Security-Policy"):
                self.fault = f"runs something ({name})"
            elif name in ("src", "srcset", "href", "xlink:href", "action", "formaction", "srcdoc", "background") and not local:
                self.fault = f"fetches something ({name})"
            elif name == "style" and _FETCHES.search(value or ""):
                self.fault = "its style fetches something"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if self._style and _FETCHES.search(data):
            self.fault = "its style fetches something"
