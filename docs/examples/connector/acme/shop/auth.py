"""An account is the address of a shop and a key for it."""

from __future__ import annotations

from typing import Any

from .api import call

type = "apiKey"  # noqa: A001 - the name the engine looks for

auth = {
    "url": {
        "type": "text",
        "name": "Address of the shop",
        "tooltip": "Such as https://shop.example.com",
        "required": True,
    },
    "apiKey": {"type": "password", "name": "API key", "tooltip": "From the shop's settings.", "required": True},
}

account_name_from_profile_info = "email"


def request_profile_info(context: Any) -> Any:
    """Whose key it is: {"email": …}. Raises StepError when the shop does not take the key."""
    return call(context, "GET", "/me")


validate = request_profile_info
