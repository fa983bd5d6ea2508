// SPDX-License-Identifier: GPL-3.0-or-later
// server.js LOG ADDR:PORT...: Node's http server that logs what it did, a line of JSON a request.
// Paths as in server.py; without /close, which Node cannot do in HTTP/1.1.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const net = require('net');

const [log, ...listen] = process.argv.slice(2);
const fd = fs.openSync(log, 'a');
const BLOCK = Buffer.alloc(65536, '0123456789abcdef');
const WS_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

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

function drip(res, n) {
	res.writeHead(200, { 'Content-Length': n });
	for (let i = 0; i < n; i++)
		res.write('x');
	res.end();
	return n;
}

function bigHead(res, n) {
	for (let i = 0; i <= n / 5000; i++)
		res.setHeader(`X-Long-${i}`, 'v'.repeat(5000));
	res.writeHead(200, { 'Content-Length': 2 });
	res.end('ok');
	return 2;
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
	if (what === 'drip')
		return drip(res, n);
	if (what === 'bighead')
		return bigHead(res, n);
	if (what === 'status') {
		res.writeHead(n, n === 204 || n === 304 ? {} : { 'Content-Length': 0 });
		res.end();
		return 0;
	}
	return reply(req, res, 404, Buffer.from('no such thing\n'));
}

// What a tunnel moved is written when it has ended: req's line, as for any other request.
function relay(req, sock, status, first, far) {
	const { remotePort: cport, localPort: sport } = sock;
	let inward = 0, outward = 0;

	const up = (d) => { inward += d.length; far.write(d); };
	if (first.length)
		up(first);
	sock.on('data', up);
	sock.on('end', () => far.end());
	sock.on('error', () => far.destroy());
	if (far !== sock) {
		far.on('data', (d) => { outward += d.length; sock.write(d); });
		far.on('end', () => sock.end());
		far.on('error', () => sock.destroy());
	}
	sock.on('close', () => {
		fs.writeSync(fd, JSON.stringify({
			pid: process.pid, whole: true, cport, sport, method: req.method,
			target: req.url, status, req_body: 0, res_body: 0, interim: [],
			tunnel_in: inward, tunnel_out: far === sock ? inward : outward,
		}) + '\n');
	});
}

function upgrade(req, sock, first) {
	const key = req.headers['sec-websocket-key'] + WS_GUID;
	const accept = crypto.createHash('sha1').update(key).digest('base64');

	sock.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n' +
		`Connection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
	relay(req, sock, 101, first, sock);
}

function connect(req, sock, first) {
	const at = req.url.lastIndexOf(':');
	const far = net.connect({ host: req.url.slice(0, at), port: Number(req.url.slice(at + 1)),
		allowHalfOpen: true }, () => {
		sock.write('HTTP/1.1 200 Connection established\r\n\r\n');
		relay(req, sock, 200, first, far);
	});
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
	server.on('upgrade', upgrade);
	server.on('connect', connect);
	server.keepAliveTimeout = 60000;
	server.listen(Number(where.slice(at + 1)), where.slice(0, at).replace(/[[\]]/g, ''));
}

listen.forEach(start);
