//! The scripts by which replicas move what a shared session holds in common. Each runs in one slot, declares
//! its keys, and goes by the clock of the store. Versions only rise: what a replica has shown is never
//! replaced by something older.

use crate::fleet::Script;

/// Looks at a playlist, and leases the right to load it if it is due.
///
/// Keys: playlist, lease, sessions, continuity. Arguments: holder of the lease, the version that is held
/// here, how long a playlist is fresh (ms), life of the lease (ms), the held versions of sessions and
/// continuity, the generation in use here. Gives verdict, version, age (ms), playlist if newer, version of
/// the sessions, these if newer, version of the continuity, this if newer, why the last load failed.
pub(super) static LOOK: Script = Script::new(
    r"local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)
local p = redis.call('HMGET', KEYS[1], 'v', 'at', 'f', 'g', 'xa', 'x')
local v, age, have = tonumber(p[1] or 0), now - tonumber(p[2] or 0), tonumber(ARGV[2])
local d = false
if v > have then d = redis.call('HGET', KEYS[1], 'd') end
local function newer(key, mine)
  local n = tonumber(redis.call('HGET', key, 'v') or 0)
  if n > tonumber(mine) then return n, redis.call('HGET', key, 'd') end
  return n, false
end
local un, ud = newer(KEYS[3], ARGV[5])
local tn, td = newer(KEYS[4], ARGV[6])
local verdict = 'busy'
local current = tonumber(redis.call('HGET', KEYS[3], 'g') or ARGV[7])
local fresh = age < tonumber(ARGV[3])
if p[3] == '1' then fresh = tonumber(p[4]) == current end
if v > 0 and v >= have and fresh then verdict = 'fresh'
elseif v >= have and p[5] and now - tonumber(p[5]) < tonumber(ARGV[3]) then verdict = 'failed'
elseif redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[4]) then verdict = 'yours' end
return {verdict, v, age, d, un, ud, tn, td, p[6]}",
);

/// Publishes a playlist, and with it the sessions and the continuity that it follows from. The lease ends.
///
/// Keys as for [`LOOK`]. Arguments: holder, version, playlist, whether it is fixed, its generation, ms since
/// KVS was asked, life (ms); version of the sessions or 0, these, generation, end (ms since 1970), life;
/// version of the continuity or 0, this. Gives 1, 0 if the lease is lost, -1 if there is a newer version.
pub(super) static COMMIT: Script = Script::new(
    r"if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
if tonumber(redis.call('HGET', KEYS[1], 'v') or 0) >= tonumber(ARGV[2]) then return -1 end
local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HDEL', KEYS[1], 'xa', 'x')
redis.call('HSET', KEYS[1], 'v', ARGV[2], 'd', ARGV[3], 'f', ARGV[4], 'g', ARGV[5], 'at', now - ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[7])
local function older(key, mine) return tonumber(redis.call('HGET', key, 'v') or 0) < tonumber(mine) end
if older(KEYS[3], ARGV[8]) then
  redis.call('HSET', KEYS[3], 'v', ARGV[8], 'd', ARGV[9], 'g', ARGV[10], 'e', ARGV[11])
  redis.call('PEXPIRE', KEYS[3], ARGV[12])
end
if older(KEYS[4], ARGV[13]) then
  redis.call('HSET', KEYS[4], 'v', ARGV[13], 'd', ARGV[14])
end
redis.call('PEXPIRE', KEYS[4], ARGV[7])
return 1",
);

/// Notes that a load or an opening failed, so that other replicas do not repeat it at once. The lease ends.
///
/// Keys: playlist or sessions, lease. Arguments: holder, why, life (ms).
pub(super) static FAIL: Script = Script::new(
    r"if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], 'xa', now, 'x', ARGV[2])
if redis.call('HEXISTS', KEYS[1], 'v') == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1",
);

/// Looks at the upstream sessions, and leases the right to open one if none is usable.
///
/// Keys: sessions, lease. Arguments: holder, the version that is held here, a generation that does not do, or
/// 0, life of the lease (ms), how long a failure stands (ms). Gives verdict, version, sessions if newer,
/// why the last opening failed.
pub(super) static LOOK_SESSION: Script = Script::new(
    r"local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)
local s = redis.call('HMGET', KEYS[1], 'v', 'g', 'e', 'xa', 'x')
local v, have = tonumber(s[1] or 0), tonumber(ARGV[2])
local d = false
if v > have then d = redis.call('HGET', KEYS[1], 'd') end
local usable = v > 0 and tonumber(s[2]) ~= tonumber(ARGV[3]) and tonumber(s[3]) > now
if v >= have and usable then return {'fresh', v, d} end
if s[4] and now - tonumber(s[4]) < tonumber(ARGV[5]) then return {'failed', v, d, s[5]} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[4]) then return {'yours', v, d} end
return {'busy', v, d}",
);

/// Publishes the upstream sessions. The lease ends.
///
/// Keys: sessions, lease. Arguments: holder, version, sessions, generation, end (ms since 1970), life (ms).
/// Gives as [`COMMIT`].
pub(super) static COMMIT_SESSION: Script = Script::new(
    r"if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
if tonumber(redis.call('HGET', KEYS[1], 'v') or 0) >= tonumber(ARGV[2]) then return -1 end
redis.call('HDEL', KEYS[1], 'xa', 'x')
redis.call('HSET', KEYS[1], 'v', ARGV[2], 'd', ARGV[3], 'g', ARGV[4], 'e', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1",
);

/// Notes whether this replica has viewers. When the last one leaves, the sessions are let go.
///
/// Keys: viewers, sessions. Arguments: replica, 1 or 0, after which time a replica counts as gone (ms). Gives
/// how many replicas have viewers.
pub(super) static VIEW: Script = Script::new(
    r"local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)
if ARGV[2] == '1' then redis.call('HSET', KEYS[1], ARGV[1], now) else redis.call('HDEL', KEYS[1], ARGV[1]) end
local all, count = redis.call('HGETALL', KEYS[1]), 0
for i = 1, #all, 2 do
  if now - tonumber(all[i + 1]) > tonumber(ARGV[3]) then redis.call('HDEL', KEYS[1], all[i])
  else count = count + 1 end
end
if count == 0 then redis.call('DEL', KEYS[2]) else redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return count",
);

/// The sessions and the continuity, as far as they are newer. Keys: sessions, continuity. Arguments: the
/// versions that are held here.
pub(super) static STATE: Script = Script::new(
    r"local found = {}
for i, key in ipairs(KEYS) do
  local n, d = tonumber(redis.call('HGET', key, 'v') or 0), false
  if n > tonumber(ARGV[i]) then d = redis.call('HGET', key, 'd') end
  found[2 * i - 1] = n found[2 * i] = d
end
return found",
);
