-- SPDX-License-Identifier: GPL-3.0-or-later
-- report.lua for wrk: the run in one line that a program can read. Times in microseconds.
function done(summary, latency, requests)
	local e = summary.errors
	print(string.format("BENCH %d %d %d %d %d", summary.requests, summary.duration,
		latency:percentile(50), latency:percentile(99),
		e.connect + e.read + e.write + e.status + e.timeout))
end
