-- SPDX-License-Identifier: GPL-3.0-or-later
-- report.lua for wrk: the run in one line that a program can read. Times in microseconds. Argument:
-- milliseconds that each connection waits before each request.
local think = 0

function init(args)
	think = tonumber(args[1]) or 0
	if think == 0 then
		delay = nil
	end
end

function delay()
	return think
end

function done(summary, latency, requests)
	local e = summary.errors
	print(string.format("BENCH %d %d %d %d %d %d", summary.requests, summary.duration,
		latency:percentile(50), latency:percentile(99),
		e.connect + e.read + e.write + e.status + e.timeout, summary.bytes))
end
