-- What wrk sends, and how it reports: 64 users, each with a sticky key of its own, one after the other; one line of JSON at the end.
-- Path, host and size of the body come from the environment. wrk's own "Host" and its connections stay as they are.

local path = os.getenv("BENCH_PATH") or "/1k"
local host = os.getenv("BENCH_HOST") or ""
local size = tonumber(os.getenv("BENCH_BODY") or "0")
local USERS = 64
-- A request is copied each time it is sent when it comes from a function: too dear for a large one, so those have one user.
local VARIED = 65536

wrk.path = path
if host ~= "" then wrk.headers["Host"] = host end
if size > 0 then
  wrk.method = "POST"
  wrk.body = string.rep("x", size)
  wrk.headers["Content-Type"] = "application/octet-stream"
end
wrk.headers["Cookie"] = "sid=user-1"

if size < VARIED then
  local requests, next = {}, 0
  init = function(args)
    for user = 1, USERS do
      wrk.headers["Cookie"] = "sid=user-" .. user
      requests[user] = wrk.format()
    end
  end
  request = function()
    next = next % USERS + 1
    return requests[next]
  end
end

done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"errors":%d,"seconds":%.6f,"p50Us":%d,"p99Us":%d,"p999Us":%d}\n',
    summary.requests,
    e.connect + e.read + e.write + e.status + e.timeout,
    summary.duration / 1e6,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)
  ))
end
