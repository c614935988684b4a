from __future__ import annotations

from connectors.appmixer.utils.storage.item import ItemTrigger


class OnItemRemoved(ItemTrigger):
    event = "delete"
