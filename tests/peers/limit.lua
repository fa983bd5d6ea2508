-- SPDX-License-Identifier: GPL-3.0-or-later
-- limit.lua for wrk: stops the thread after this many responses; the other connections then end in
-- the middle of an exchange, as clients do.
local left = 400

function init(args)
	left = tonumber(args[1]) or left
end

function response()
	left = left - 1
	if left == 0 then
		wrk.thread:stop()
	end
end
