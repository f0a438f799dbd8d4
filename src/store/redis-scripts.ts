/**
 * What happens in Redis as one step: compared, written and told, with nobody in between. Lua, sent with each call: a script that is kept by its
 * hash alone is gone after a failover.
 *
 * Every key begins with the fleet's hash tag, so that a Cluster has them all in one slot; each script is given the keys it touches.
 */

import type { Word } from "./redis-link.ts";

/** A script, and how many of its words are keys. */
export interface Script {
  readonly keys: number;
  readonly text: string;
}

/** The command that runs it. */
export function evalOf(script: Script, ...words: readonly Word[]): readonly [string, ...Word[]] {
  return ["EVAL", script.text, script.keys, ...words];
}

/** What is longer than this is fetched by those who hear of it: bytes. */
const MOST_TOLD = 65_536;
/** Saves that the shared copy of the journal keeps. */
const JOURNAL_KEPT = 10_000;

/**
 * As a header `doc EPOCH VERSION BY`, with the document behind it; or, where it is known what has changed since which one, `news EPOCH VERSION BY`, the
 * same of the one before it, and the change behind that.
 */
const TELL = `
local function tell(channel, epoch, version, by, text, before, news)
  local about = epoch .. ' ' .. version .. ' ' .. by
  if news ~= '' and #news <= ${MOST_TOLD} then
    redis.call('PUBLISH', channel, 'news ' .. about .. ' ' .. before .. '\\n' .. news)
  elseif #text <= ${MOST_TOLD} then
    redis.call('PUBLISH', channel, 'doc ' .. about .. '\\n' .. text)
  else
    redis.call('PUBLISH', channel, 'doc ' .. about .. '\\n')
  end
end
local function write(state, journal, epoch, version, by, text, about)
  redis.call('HSET', state, 'epoch', epoch, 'version', version, 'by', by, 'document', text)
  redis.call('XADD', journal, 'MAXLEN', '~', ${JOURNAL_KEPT}, '*', 'epoch', epoch, 'version', version, 'by', by, 'about', about)
end
local function numbers(state)
  local found = redis.call('HMGET', state, 'epoch', 'version')
  return tonumber(found[1] or '0'), tonumber(found[2] or '0')
end
`;

/**
 * Keys: state, lease, journal. Words: epoch, version, replica, document, about, channel, lease as this replica holds it (empty: it does not raise),
 * epoch and version that this replica knows, epoch, version and writer of the document before this one, what has changed since
 * then (empty: all of it is told).
 * Answers `ok`, `conflict`, `fenced` or `lost`, and the version found.
 */
export const SAVE: Script = {
  keys: 3,
  text: `${TELL}
local epoch, version = numbers(KEYS[1])
local known = tonumber(ARGV[8])
if epoch < known or (epoch == known and version < tonumber(ARGV[9])) then return {'lost', version} end
if tonumber(ARGV[1]) < epoch or tonumber(ARGV[2]) ~= version + 1 then return {'conflict', version} end
if ARGV[7] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[7] then return {'fenced', version} end
write(KEYS[1], KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
tell(ARGV[6], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[10], ARGV[11])
return {'ok', version}`,
};

/**
 * What was lost, once more, under a higher epoch. Keys: state, lease, journal, offer. Words: epoch, version, replica, document, about, channel, lease,
 * epoch and version that are known. Answers `ok`, `fenced`, `newer` (nothing is lost), or `offer` with a document that somebody knows and that is
 * higher.
 */
export const PUBLISH_AGAIN: Script = {
  keys: 4,
  text: `${TELL}
local function isLower(epoch, version, than, thanVersion)
  return epoch < than or (epoch == than and version < thanVersion)
end
if redis.call('GET', KEYS[2]) ~= ARGV[7] then return {'fenced', ''} end
local known, knownVersion = tonumber(ARGV[8]), tonumber(ARGV[9])
local epoch, version = numbers(KEYS[1])
if not isLower(epoch, version, known, knownVersion) or tonumber(ARGV[1]) <= epoch then return {'newer', ''} end
local offer, offerVersion = numbers(KEYS[4])
if isLower(known, knownVersion, offer, offerVersion) then return {'offer', redis.call('HGET', KEYS[4], 'document')} end
write(KEYS[1], KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
redis.call('DEL', KEYS[4])
tell(ARGV[6], ARGV[1], ARGV[2], ARGV[3], ARGV[4], '', '')
return {'ok', ''}`,
};

/** What this replica knows, for the leader to publish again, unless somebody knows more. Keys: offer. Words: epoch, version, document, ms to keep it, channel. */
export const OFFER: Script = {
  keys: 1,
  text: `${TELL}
local epoch, version = numbers(KEYS[1])
local mine, mineVersion = tonumber(ARGV[1]), tonumber(ARGV[2])
if epoch < mine or (epoch == mine and version < mineVersion) then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'version', ARGV[2], 'document', ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1`,
};

/**
 * Takes the lease, or keeps it. Keys: lease, fence. Words: replica, ms, the highest fence known, channel. Answers the lease as it is held, `FENCE
 * REPLICA`, and for how many ms.
 */
export const LEASE: Script = {
  keys: 2,
  text: `
local held = redis.call('GET', KEYS[1])
local mine = ' ' .. ARGV[1]
if held then
  if string.sub(held, -#mine) ~= mine then return {held, redis.call('PTTL', KEYS[1])} end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {held, tonumber(ARGV[2])}
end
local fence = redis.call('INCR', KEYS[2])
if fence <= tonumber(ARGV[3]) then
  fence = tonumber(ARGV[3]) + 1
  redis.call('SET', KEYS[2], fence)
end
held = fence .. mine
redis.call('SET', KEYS[1], held, 'NX', 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[4], 'lease')
return {held, tonumber(ARGV[2])}`,
};

/** Gives the lease up. Keys: lease. Words: the lease as this replica holds it, channel. */
export const RELEASE: Script = {
  keys: 1,
  text: `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], 'lease')
return 1`,
};

/** Keeps the first that is offered, for good; answers what is kept. Keys: where. Words: value. */
export const KEEP_FIRST: Script = {
  keys: 1,
  text: `
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])`,
};

/**
 * Whose it is. Keys: where, what is done, replicas. Words: id, replica, ms to keep it, ms after which a silent replica is gone, whether what such a one has is
 * taken over (1). Answers `ours`, `theirs`, `gone` or `done`.
 */
export const CLAIM: Script = {
  keys: 3,
  text: `
if redis.call('HGET', KEYS[2], ARGV[1]) then return 'done' end
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[2] then
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  local at = tonumber(string.match(redis.call('HGET', KEYS[3], held) or '0', '^%d+'))
  if now - at <= tonumber(ARGV[4]) then return 'theirs' end
  if ARGV[5] ~= '1' then return 'gone' end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 'ours'`,
};

/** They were carried out. Keys: what is done. Words: how many are kept at least, ms to keep them, channel, ids. */
export const DONE: Script = {
  keys: 1,
  text: `
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local all = redis.call('HGETALL', KEYS[1])
if #all > 4 * tonumber(ARGV[1]) then
  local times = {}
  for i = 2, #all, 2 do times[#times + 1] = tonumber(all[i]) end
  table.sort(times)
  local oldest = times[#times - ARGV[1]]
  for i = 1, #all, 2 do
    if tonumber(all[i + 1]) < oldest then redis.call('HDEL', KEYS[1], all[i]) end
  end
end
for i = 4, #ARGV do
  redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f', now))
  redis.call('PUBLISH', ARGV[3], 'done ' .. ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1`,
};

/** The ids of what is done. Keys: what is done. */
export const ALL_DONE: Script = {
  keys: 1,
  text: `
local all = redis.call('HGETALL', KEYS[1])
local ids = {}
for i = 1, #all, 2 do ids[#ids + 1] = all[i] end
return ids`,
};

/** Adds measurements, once by their number. Keys: stream, the replica's last number. Words: replica, number, bytes, ms to keep them. */
export const MEASURE: Script = {
  keys: 2,
  text: `
if tonumber(redis.call('GET', KEYS[2]) or '0') >= tonumber(ARGV[2]) then return 0 end
local now = redis.call('TIME')
local oldest = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[4])
redis.call('XADD', KEYS[1], 'MINID', '~', oldest, '*', 'r', ARGV[1], 'm', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4] * 2)
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[4] * 10)
return 1`,
};

/** Keys: replicas. Words: replica, what it tells, ms until all of it is forgotten. Written with the time of Redis before it. */
export const ANNOUNCE: Script = {
  keys: 1,
  text: `
local now = redis.call('TIME')
local at = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('HSET', KEYS[1], ARGV[1], at .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`,
};

/** Keys: replicas, lease. Words: ms after which a silent one is forgotten. Answers the time, the lease, and names with what each told. */
export const REPLICAS: Script = {
  keys: 2,
  text: `
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local all = redis.call('HGETALL', KEYS[1])
local found = {}
for i = 1, #all, 2 do
  local at = tonumber(string.match(all[i + 1], '^%d+') or '0')
  if now - at > tonumber(ARGV[1]) then
    redis.call('HDEL', KEYS[1], all[i])
  else
    found[#found + 1] = all[i]
    found[#found + 1] = all[i + 1]
  end
end
return {string.format('%.0f', now), redis.call('GET', KEYS[2]) or '', found}`,
};

/** Puts an order where the leader finds it. Keys: commands. Words: id, replica, order, ms for which it counts. */
export const FORWARD: Script = {
  keys: 1,
  text: `
local now = redis.call('TIME')
local until_ = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[4])
redis.call('RPUSH', KEYS[1], until_ .. ' ' .. ARGV[1] .. ' ' .. ARGV[2] .. '\\n' .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], math.max(ARGV[4], redis.call('PTTL', KEYS[1])))
return 1`,
};

/** Takes the orders that still count. Keys: commands, lease. Words: the lease as the leader holds it, how many. */
export const FORWARDED: Script = {
  keys: 2,
  text: `
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return {} end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local waiting = redis.call('LRANGE', KEYS[1], 0, ARGV[2] - 1)
redis.call('LTRIM', KEYS[1], ARGV[2], -1)
local found = {}
for _, each in ipairs(waiting) do
  if tonumber(string.match(each, '^%d+')) >= now then found[#found + 1] = each end
end
return found`,
};

/** Keys: where the answer goes. Words: answer, ms to keep it, channel, id. */
export const ANSWER: Script = {
  keys: 1,
  text: `
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[3], 'answer ' .. ARGV[4])
return 1`,
};

/** How many replicas of its own the server has that holds the state. Keys: state. */
export const COPIES: Script = {
  keys: 1,
  text: `return tonumber(string.match(redis.call('INFO', 'replication'), 'connected_slaves:(%d+)') or '0')`,
};
