-- SPDX-License-Identifier: GPL-3.0-or-later
-- load.lua for wrk. Arguments: think time in ms (0: none), 1 for a connection per request.
-- Targets have 2 to 98 characters in turn and the server answers with the target, so that a
-- response shows which request it may belong to.
local think = 0
local made = {}
local n = 0

function init(args)
	think = tonumber(args[1]) or 0
	local headers = { ["Host"] = "t" }
	if args[2] == "1" then
		headers["Connection"] = "close"
	end
	for i = 1, 97 do
		made[i] = wrk.format("GET", "/" .. string.rep("x", i), headers)
	end
	if think == 0 then
		delay = nil
	end
end

function request()
	n = n % 97 + 1
	return made[n]
end

function delay()
	return think
end
