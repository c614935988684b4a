"""What Redis does in one piece. Each script ends in a moment and touches only the keys it is given.

Times are those of the server, in milliseconds, so that it does not matter whose clock is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha1


@dataclass(frozen=True, slots=True)
class Script:
    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", sha1(self.text.encode(), usedforsecurity=False).hexdigest())


INCR = Script("""
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return count
""")
"""counter; by, ttl → the new count. The time to live runs from the first call."""

LOCK = Script("""
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")
"""lock; owner, ttl → 1 when it is the owner's, taken or renewed."""

UNLOCK = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")
"""lock; owner → 1 when the owner had it."""

ACQUIRE = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local holders, places, lapses = KEYS[1], KEYS[2], KEYS[3]
local ticket, limit, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', holders, '-inf', now)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', lapses, '-inf', now)) do
    redis.call('ZREM', places, gone)
    redis.call('ZREM', lapses, gone)
end
local function keep(key)
    if redis.call('PTTL', key) < ttl then redis.call('PEXPIRE', key, ttl) end
end
if not redis.call('ZSCORE', holders, ticket) then
    if not redis.call('ZSCORE', places, ticket) then
        local last = redis.call('ZRANGE', places, -1, -1, 'WITHSCORES')
        redis.call('ZADD', places, (last[2] or 0) + 1, ticket)
    end
    if redis.call('ZRANK', places, ticket) >= limit - redis.call('ZCARD', holders) then
        redis.call('ZADD', lapses, now + ttl, ticket)
        keep(places)
        keep(lapses)
        return 0
    end
    redis.call('ZREM', places, ticket)
    redis.call('ZREM', lapses, ticket)
end
redis.call('ZADD', holders, now + ttl, ticket)
keep(holders)
return 1
""")
"""holders, places, lapses (sorted sets of tickets by the time a slot lapses, by their order in the queue,
and by the time a place lapses); ticket, limit, ttl → 1 when the ticket holds a slot."""

RELEASE = Script("""
for _, key in ipairs(KEYS) do redis.call('ZREM', key, ARGV[1]) end
return 1
""")
"""holders, places, lapses; ticket."""
