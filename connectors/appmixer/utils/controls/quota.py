"""How many calls of Digest run at a time."""

from engine.sdk import Quota

rules = [Quota(limit=15, resource="digest", queueing="fifo")]
