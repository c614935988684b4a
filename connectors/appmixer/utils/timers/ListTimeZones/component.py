"""ListTimeZones: the zones a schedule can be read in."""

from connectors.appmixer.utils._kit.time_zones import ListTimeZones

__all__ = ["ListTimeZones"]
