// SPDX-License-Identifier: GPL-3.0-or-later
// server.js LOG ADDR:PORT...: Node's http server that logs what it did, a line of JSON a request.
// Paths as in server.py; without /close, which Node cannot do in HTTP/1.1.
'use strict';
const fs = require('fs');
const http = require('http');

const [log, ...listen] = process.argv.slice(2);
const fd = fs.openSync(log, 'a');
const BLOCK = Buffer.alloc(65536, '0123456789abcdef');

function reply(req, res, status, body) {
	res.writeHead(status, { 'Content-Length': body.length });
	res.end(req.method === 'HEAD' ? undefined : body);
	return req.method === 'HEAD' ? 0 : body.length;
}

function chunks(req, res, n) {
	res.writeHead(200, { 'Transfer-Encoding': 'chunked' });
	if (req.method === 'HEAD') {
		res.end();
		return 0;
	}
	for (let left = n; left > 0; left -= 8000)
		res.write(BLOCK.subarray(0, Math.min(left, 8000)));
	res.end();
	return n;
}

function answer(req, res, got) {
	const [, what, arg] = req.url.split('?')[0].split('/');
	const n = Number(arg) || 0;

	if (what === 'b')
		return reply(req, res, 200, Buffer.alloc(n, 'x'));
	if (what === 'echo')
		return reply(req, res, 200, Buffer.from(`${got}\n`));
	if (what === 'chunked')
		return chunks(req, res, n);
	if (what === 'status') {
		res.writeHead(n, n === 204 || n === 304 ? {} : { 'Content-Length': 0 });
		res.end();
		return 0;
	}
	return reply(req, res, 404, Buffer.from('no such thing\n'));
}

function handle(req, res, interim) {
	let got = 0, sent = 0;
	const cport = req.socket.remotePort, sport = req.socket.localPort;

	req.on('data', (d) => { got += d.length; });
	req.on('end', () => { sent = answer(req, res, got); });
	res.on('close', () => {
		fs.writeSync(fd, JSON.stringify({
			pid: process.pid, whole: res.writableFinished, cport, sport,
			method: req.method, target: req.url, status: res.statusCode,
			req_body: got, res_body: sent, interim,
		}) + '\n');
	});
}

function start(where) {
	const at = where.lastIndexOf(':');
	const server = http.createServer((req, res) => handle(req, res, []));

	server.on('checkContinue', (req, res) => {
		res.writeContinue();
		handle(req, res, [100]);
	});
	server.keepAliveTimeout = 60000;
	server.listen(Number(where.slice(at + 1)), where.slice(0, at).replace(/[[\]]/g, ''));
}

listen.forEach(start);
