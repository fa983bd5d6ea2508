// SPDX-License-Identifier: GPL-3.0-or-later
// client.js HOST PORT: Node's http client as a peer. Reads a JSON list of requests from stdin as
// tests/peers/client.py does, sends them one after the other on a kept connection and prints a line
// of JSON for each. Besides: "expect" waits for 100 (Continue); "tunnel" is a list of sizes sent
// through what a 101 or the answer to CONNECT opened, each when the one before came back; "inner" a
// text that is sent there once, after which everything until the end is read. These have a
// connection of their own.
'use strict';
const fs = require('fs');
const http = require('http');

const [host, port] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function say(step, sock, res, interim, more) {
	process.stdout.write(JSON.stringify(Object.assign({
		pid: process.pid, tid: process.pid, cport: sock.cport, sport: Number(port),
		method: step.method, target: step.target, status: res.statusCode,
		req_body: step.body || 0, res_body: 0, interim,
	}, more)) + '\n');
}

// Sends what the step says, counts what comes back.
function through(step, sock, first, done) {
	const sizes = [...(step.tunnel || [])];
	let out = 0, back = 0, want = 0;

	function next() {
		if (!sizes.length)
			return sock.end();
		want += sizes[0];
		out += sizes[0];
		sock.write(Buffer.alloc(sizes.shift(), 'z'));
	}

	function take(d) {
		back += d.length;
		if (step.tunnel && back === want)
			next();
	}

	if (first.length)
		take(first);
	sock.on('data', take);
	sock.on('end', () => sock.end());
	sock.on('close', () => done({ tunnel_out: out, tunnel_in: back }));
	if (step.inner) {
		out += step.inner.length;
		sock.write(step.inner);
	} else {
		next();
	}
}

function send(req, step) {
	if (!step.body)
		return req.end();
	for (let left = step.body; left > 0; left -= 5000)
		req.write(Buffer.alloc(Math.min(left, 5000), 'y'));
	req.end();
}

function one(step) {
	return new Promise((resolve, reject) => {
		const headers = {}, interim = [];

		if (step.body !== null && step.body !== undefined && !step.chunked)
			headers['Content-Length'] = step.body;
		if (step.chunked)
			headers['Transfer-Encoding'] = 'chunked';
		if (step.expect)
			headers.Expect = '100-continue';
		if (step.tunnel && step.method === 'GET') {
			headers.Connection = 'Upgrade';
			headers.Upgrade = 'websocket';
			headers['Sec-WebSocket-Version'] = 13;
			headers['Sec-WebSocket-Key'] = 'dGhlIHNhbXBsZSBub25jZQ==';
		}
		const own = step.tunnel || step.inner;
		const req = http.request({ host, port, method: step.method, path: step.target,
			headers, agent: own ? new http.Agent({ keepAlive: true }) : agent });
		const switched = (res, sock, first) => through(step, sock, first, (more) => {
			say(step, sock, res, interim, more);
			resolve();
		});
		req.on('error', reject);
		req.on('socket', (s) => {
			const known = () => { s.cport = s.localPort; };
			s.connecting ? s.once('connect', known) : known();
		});
		req.on('information', (i) => interim.push(i.statusCode));
		req.on('upgrade', switched);
		req.on('connect', switched);
		req.on('response', (res) => {
			const sock = res.socket;
			let got = 0;
			res.on('data', (d) => { got += d.length; });
			res.on('end', () => {
				say(step, sock, res, interim, { res_body: got });
				resolve();
			});
		});
		if (step.expect) {
			req.on('continue', () => send(req, step));
			req.flushHeaders();
		} else {
			send(req, step);
		}
	});
}

async function main() {
	for (const step of JSON.parse(fs.readFileSync(0)))
		await one(step);
	agent.destroy();
}

main();
