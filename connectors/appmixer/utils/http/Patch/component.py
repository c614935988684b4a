from __future__ import annotations

from connectors.appmixer.utils.http.plain import Plain


class Patch(Plain):
    method = "PATCH"
