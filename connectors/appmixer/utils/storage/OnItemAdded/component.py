from __future__ import annotations

from connectors.appmixer.utils.storage.item import ItemTrigger


class OnItemAdded(ItemTrigger):
    event = "insert"
