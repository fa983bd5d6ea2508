-- SPDX-License-Identifier: GPL-3.0-or-later
-- load.lua for wrk: prefix, how many responses to stop after, think time in ms, a connection per
-- request (1). Targets are numbered; when the last response is in the other connections end in the
-- middle of an exchange, as clients do.
local prefix, left, think = "/", 1000, 0
local n = 0
local headers = { ["Host"] = "lab" }

function init(args)
	prefix = args[1] or prefix
	left = tonumber(args[2]) or left
	think = tonumber(args[3]) or think
	if args[4] == "1" then
		headers["Connection"] = "close"
	end
	if think == 0 then
		delay = nil
	end
end

function request()
	n = n + 1
	return wrk.format("GET", prefix .. n, headers)
end

function response()
	left = left - 1
	if left == 0 then
		-- wrk itself would sleep on until its time is over.
		os.exit(0)
	end
end

function delay()
	return think
end
