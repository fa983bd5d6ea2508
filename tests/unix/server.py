#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""server.py PATH...: HTTP over unix sockets; a PATH that begins with @ is an abstract name.

    /b/N        N bytes with Content-Length        /chunked/N  N bytes, chunked
    /close/N    N bytes until the connection ends  /echo       how long the request's body was
"""
import http.server
import socketserver
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
	protocol_version = "HTTP/1.1"

	def log_message(self, *_):
		pass

	def reply(self, data, *headers):
		self.send_response(200)
		for name, value in headers or [("Content-Length", str(len(data)))]:
			self.send_header(name, value)
		self.end_headers()
		return self.wfile.write(data) if self.command != "HEAD" else 0

	def answer(self):
		what, n = self.path.split("?")[0].split("/")[1:3]
		data = b"u" * int(n)
		if what == "echo":
			got = self.rfile.read(int(self.headers["Content-Length"]))
			self.reply(b"%d\n" % len(got))
		elif what == "chunked":
			self.reply(b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in
				   (data[i:i + 7000] for i in range(0, len(data), 7000))) + b"0\r\n\r\n",
				   ("Transfer-Encoding", "chunked"))
		elif what == "close":
			self.close_connection = True
			self.reply(data, ("Connection", "close"))
		else:
			self.reply(data)

	do_GET = do_HEAD = do_POST = answer


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
	daemon_threads = True
	request_queue_size = 64


servers = [Server("\0" + p[1:] if p[0] == "@" else p, Handler) for p in sys.argv[1:]]
for srv in servers[1:]:
	threading.Thread(target=srv.serve_forever, daemon=True).start()
servers[0].serve_forever()
