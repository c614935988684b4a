from __future__ import annotations

from connectors.appmixer.utils.http.plain import Plain


class Delete(Plain):
    method = "DELETE"
