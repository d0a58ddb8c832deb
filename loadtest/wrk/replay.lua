-- Replays a corpus of signed events as fast as the connections carry them: the most that a server takes, closed loop.
-- Latencies under such a load say little; `run.sh` measures them against a schedule.
--
--   STRIPE_WEBHOOK_SECRET=whsec_… tollgate-loadtest corpus --count 20000 > corpus.txt     (good for five minutes)
--   CORPUS=corpus.txt WRK_THREADS=2 wrk --threads 2 --connections 64 --duration 10s --latency --script replay.lua \
--     http://127.0.0.1:4242/webhook
--
-- A corpus has two lines for each event: the value of `Stripe-Signature`, and the body. At its end it begins again:
-- what is asked then are duplicates.

local threads = 0

function setup(thread)
   thread:set("thread", threads)
   threads = threads + 1
   thread:set("approved", 0)
   thread:set("declined", 0)
   thread:set("refused", 0)
   all = all or {}
   table.insert(all, thread)
end

function init(args)
   local path = os.getenv("CORPUS") or "corpus.txt"
   local file, problem = io.open(path)
   if not file then
      error("no corpus: " .. problem .. "; `tollgate-loadtest corpus` writes one, CORPUS names it")
   end
   -- Each thread takes its own part, so that no event is asked twice in the first round.
   requests, place = {}, 0
   local number, stride = 0, tonumber(os.getenv("WRK_THREADS") or "1")
   for signature in file:lines() do
      local body = file:read("*l")
      if not body then
         error("the corpus ends in the middle of an event")
      end
      if number % stride == thread % stride then
         requests[#requests + 1] = wrk.format("POST", nil, {
            ["Content-Type"] = "application/json; charset=utf-8",
            ["Stripe-Signature"] = signature,
         }, body)
      end
      number = number + 1
   end
   file:close()
   if #requests == 0 then
      error("the corpus is empty: " .. path)
   end
end

function request()
   place = place % #requests + 1
   return requests[place]
end

function response(status, headers, body)
   if status ~= 200 then
      refused = refused + 1
   elseif body:find('"approved":true', 1, true) then
      approved = approved + 1
   else
      declined = declined + 1
   end
end

function done(summary, latency, requests)
   local total = {approved = 0, declined = 0, refused = 0}
   for _, thread in ipairs(all) do
      for name in pairs(total) do
         total[name] = total[name] + thread:get(name)
      end
   end
   io.write(string.format("  approved %d, declined %d, refused %d, broken %d\n", total.approved, total.declined, total.refused,
      summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
