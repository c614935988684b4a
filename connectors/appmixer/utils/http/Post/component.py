from __future__ import annotations

from connectors.appmixer.utils.http.upload import Upload


class Post(Upload):
    method = "POST"
