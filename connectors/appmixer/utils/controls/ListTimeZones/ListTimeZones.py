"""Transforms of ListTimeZones (engine.md §2, `source`)."""

from connectors.appmixer.utils._kit.time_zones import to_select as timezonesToSelectArray  # noqa: N812 the name manifests use

__all__ = ["timezonesToSelectArray"]
