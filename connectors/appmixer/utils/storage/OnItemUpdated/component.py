from __future__ import annotations

from typing import Any

from connectors.appmixer.utils.storage.item import ItemTrigger


class OnItemUpdated(ItemTrigger):
    event = "update"

    def item(self, data: dict[str, Any]) -> dict[str, Any]:
        return {**super().item(data), "oldValue": data.get("oldValue")}
