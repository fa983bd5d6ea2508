#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""server.py LOG PROTOCOL ADDR:PORT...: Python's http.server that logs what it really did.

A line of JSON for each request: who (pid, tid), which connection, and the sizes counted at the
socket's files, so that they are not what somebody computed from headers.

    /b/N        N bytes with Content-Length        /chunked/N  N bytes in chunks of at most 8000
    /close/N    N bytes until the connection ends  /status/N   that status, empty
    /echo       reads the request's body, answers how long it was
    /drip/N     N bytes, each in a write of its own    /bighead/N  more than N bytes of headers
    /ws         101 (RFC 6455), then all bytes are sent back
    CONNECT     a tunnel to HOST:PORT
"""
import base64
import hashlib
import http.server
import json
import os
import socket
import sys
import threading

BLOCK = b"0123456789abcdef" * 4096
WS_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CHUNK = 8000


class Counted:
	"""A file of the connection that counts what goes through it."""

	def __init__(self, f):
		self.f, self.n = f, 0

	def readline(self, *a):
		data = self.f.readline(*a)
		self.n += len(data)
		return data

	def read(self, *a):
		data = self.f.read(*a)
		self.n += len(data)
		return data

	def write(self, data):
		n = self.f.write(data)
		self.n += len(data)
		return n

	def __getattr__(self, name):
		return getattr(self.f, name)


def body_of(n):
	return (BLOCK * (n // len(BLOCK) + 1))[:n]


class Handler(http.server.BaseHTTPRequestHandler):
	log_fd = -1

	def setup(self):
		super().setup()
		self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		self.rfile, self.wfile = Counted(self.rfile), Counted(self.wfile)

	def log_message(self, *_):
		pass

	def handle_expect_100(self):
		good = super().handle_expect_100()
		self.interim = self.wfile.n
		return good

	def handle_one_request(self):
		self.rfile.n = self.wfile.n = self.interim = 0
		self.sent = self.head = self.req_body = self.status = 0
		self.tunnel = None
		self.raw_requestline, self.command, self.path = b"", None, None
		whole = False
		try:
			super().handle_one_request()
			whole = True
		except OSError:
			self.close_connection = True
		if self.raw_requestline:
			self.note(whole)

	def note(self, whole):
		line = {"pid": os.getpid(), "tid": threading.get_native_id(), "whole": whole,
			"cport": self.client_address[1], "sport": self.connection.getsockname()[1],
			"method": self.command, "target": self.path, "status": self.status,
			"req_size": self.rfile.n, "req_body": self.req_body,
			"res_size": self.wfile.n - self.interim, "res_body": self.sent,
			"interim": [100] if self.interim else []}
		if self.tunnel:
			line.update(tunnel_in=self.tunnel[0], tunnel_out=self.tunnel[1])
		os.write(self.log_fd, (json.dumps(line) + "\n").encode())

	def send_response(self, code, message=None):
		self.status = int(code)
		super().send_response(code, message)

	def read_body(self):
		if "chunked" in self.headers.get("Transfer-Encoding", ""):
			total = 0
			while True:
				size = int(self.rfile.readline().split(b";")[0], 16)
				total += len(self.rfile.read(size)) if size else 0
				line = self.rfile.readline()
				while not size and line.strip():
					line = self.rfile.readline()
				if not size:
					return total
		return len(self.rfile.read(int(self.headers.get("Content-Length", 0))))

	def answer(self):
		parts = self.path.split("?")[0].split("/")
		what, n = parts[1], int(parts[2]) if len(parts) > 2 and parts[2].isdigit() else 0
		self.req_body = self.read_body()
		if what == "echo":
			self.reply(200, f"{self.req_body}\n".encode())
		elif what == "status":
			self.send_response(n)
			if n >= 200 and n not in (204, 304):
				self.send_header("Content-Length", "0")
			self.end_headers()
		elif what == "b":
			self.reply(200, body_of(n))
		elif what == "close":
			self.send_response(200)
			self.send_header("Connection", "close")
			self.end_headers()
			self.data(body_of(n))
			self.close_connection = True
		elif what == "chunked" and self.request_version == "HTTP/1.1":
			self.send_response(200)
			self.send_header("Transfer-Encoding", "chunked")
			self.end_headers()
			self.chunks(n)
		elif what == "drip":
			self.drip(body_of(n))
		elif what == "bighead":
			self.big_head(n)
		elif what == "ws" and self.headers.get("Sec-WebSocket-Key"):
			self.web_socket()
		else:
			self.reply(404, b"no such thing\n")

	do_GET = do_HEAD = do_POST = do_PUT = answer

	def drip(self, data):
		self.send_response(200)
		self.send_header("Content-Length", str(len(data)))
		self.end_headers()
		for at in range(len(data)):
			self.data(data[at:at + 1])

	def big_head(self, n):
		self.send_response(200)
		for i in range(n // 5000 + 1):
			self.send_header(f"X-Long-{i}", "v" * 5000)
		self.send_header("Content-Length", "2")
		self.end_headers()
		self.data(b"ok")

	def web_socket(self):
		key = (self.headers["Sec-WebSocket-Key"] + WS_GUID).encode()
		self.send_response(101)
		self.send_header("Upgrade", "websocket")
		self.send_header("Connection", "Upgrade")
		self.send_header("Sec-WebSocket-Accept",
				 base64.b64encode(hashlib.sha1(key).digest()).decode())
		self.end_headers()
		self.relay(None)

	def do_CONNECT(self):
		host, _, port = self.path.rpartition(":")
		far = socket.create_connection((host, int(port)), 10)
		self.send_response(200, "Connection established")
		self.end_headers()
		with far:
			self.relay(far)

	def relay(self, far):
		"""Bytes from the client to far (back to it if None) and from far, until both end."""
		self.tunnel, self.close_connection = [0, 0], True

		def pump(read, to, count):
			while data := read(65536):
				to.sendall(data)
				for n in count:
					self.tunnel[n] += len(data)
			if far:
				to.shutdown(socket.SHUT_WR)

		if not far:
			pump(self.rfile.f.read1, self.connection, (0, 1))
			return
		back = threading.Thread(target=pump, args=(far.recv, self.connection, (1,)))
		back.start()
		pump(self.rfile.f.read1, far, (0,))
		back.join()

	def reply(self, status, data):
		self.send_response(status)
		self.send_header("Content-Length", str(len(data)))
		self.end_headers()
		self.data(data)

	def data(self, data):
		if self.command != "HEAD" and data:
			self.wfile.write(data)
			self.sent += len(data)

	def chunks(self, n):
		if self.command == "HEAD":
			return
		data = body_of(n)
		for at in range(0, n, CHUNK):
			piece = data[at:at + CHUNK]
			self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
			self.sent += len(piece)
		self.wfile.write(b"0\r\nX-Trailer: end\r\n\r\n")


class Server(http.server.ThreadingHTTPServer):
	request_queue_size = 128


class Server6(Server):
	address_family = socket.AF_INET6


def main():
	log, protocol, listen = sys.argv[1], sys.argv[2], sys.argv[3:]
	Handler.log_fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
	Handler.protocol_version = protocol
	servers = []
	for where in listen:
		host, _, port = where.rpartition(":")
		kind = Server6 if ":" in host else Server
		servers.append(kind((host.strip("[]"), int(port)), Handler))
	for srv in servers[1:]:
		threading.Thread(target=srv.serve_forever, daemon=True).start()
	servers[0].serve_forever()


main()
