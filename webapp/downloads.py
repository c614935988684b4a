"""Headers of what people stored and download again: it must never run as a page of ours (design-browser.md §3)."""

from __future__ import annotations

from urllib.parse import quote

SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'"


def attachment(filename: str, *, inline: bool = False) -> dict[str, str]:
    """Save-as headers; `inline` only for pictures."""
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%;' else "_" for char in filename)
    kind = "inline" if inline else "attachment"
    return {
        "Content-Disposition": f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": SANDBOX,
    }
