# SPDX-License-Identifier: GPL-3.0-or-later
"""raw.py: a client on a bare socket that does exactly what a test tells it, and keeps a list of
what it did: an entry (see tests/lib/peerlog.py) for each exchange, and bytes sent and received."""
import fcntl
import os
import select
import socket
import struct
import termios

from rig import wait_for

with open("/proc/self/comm") as comm:
	COMM = comm.read().strip()
SECS = 20			# no answer for so long is a failure of the test


def head(method, target, *fields):
	lines = [f"{method} {target} HTTP/1.1", "Host: matrix.test", *fields]
	return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunked(body, piece):
	out = b""
	for at in range(0, len(body), piece):
		part = body[at:at + piece]
		out += b"%x\r\n%s\r\n" % (len(part), part)
	return out + b"0\r\n\r\n"


class Request:
	"""Its bytes, and what is to be remembered of it."""

	def __init__(self, method, target, *fields, body=None, chunk=0):
		fields, wire = list(fields), body or b""
		if chunk:
			fields.append("Transfer-Encoding: chunked")
			wire = chunked(body, chunk)
		elif body is not None:
			fields.append(f"Content-Length: {len(body)}")
		self.method, self.target = method, target
		self.head, self.wire = head(method, target, *fields), wire
		self.body = len(body or b"")

	def bytes(self):
		return self.head + self.wire


class Client:
	"""One connection. piece: how many bytes a read or write may move."""

	def __init__(self, port, piece=0, rcvbuf=0):
		self.sock = socket.socket()
		if rcvbuf:
			self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
		self.sock.settimeout(SECS)
		self.sock.connect(("127.0.0.1", port))
		self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		self.sport, self.cport = port, self.sock.getsockname()[1]
		self.piece, self.data = piece, b""
		self.sent = self.got = 0
		self.ended = False
		self.entries = []

	def send(self, data):
		for at in range(0, len(data), self.piece or len(data) or 1):
			self.sock.sendall(data[at:at + (self.piece or len(data))])
		self.sent += len(data)

	def fill(self):
		"""False at the end of the stream."""
		if self.ended:
			return False
		try:
			data = self.sock.recv(self.piece or 65536)
		except ConnectionResetError:
			data = b""
		self.ended = not data
		self.data += data
		self.got += len(data)
		return bool(data)

	def line(self):
		while b"\n" not in self.data:
			if not self.fill():
				raise EOFError
		line, _, self.data = self.data.partition(b"\n")
		self.size += len(line) + 1
		return line.strip()

	def take(self, n):
		"""Up to n bytes of a body; fewer only if the stream ends. n of None: all of it."""
		left = n
		while left is None or left > 0:
			if not self.data and not self.fill():
				return n is None
			k = len(self.data) if left is None else min(left, len(self.data))
			self.data = self.data[k:]
			self.size, self.body = self.size + k, self.body + k
			left = None if left is None else left - k
		return True

	def read_head(self):
		"""(status, fields) of the next message, None at the end of the stream."""
		self.size = self.body = 0
		try:
			status = int(self.line().split()[1])
			fields = {}
			while line := self.line():
				name, _, value = line.decode("latin-1").partition(":")
				fields[name.lower()] = value.strip()
		except EOFError:
			return None
		return status, fields

	def read_chunks(self):
		body = 0
		while n := int(self.line().split(b";")[0], 16):
			self.take(n)
			body += n
			self.line()
		while self.line():
			pass
		self.body = body

	def read_body(self, method, status, fields):
		if method == "HEAD" or status in (204, 304) or status < 200 or \
		   (method == "CONNECT" and status < 300):
			return True
		if "chunked" in fields.get("transfer-encoding", ""):
			try:
				self.read_chunks()
			except (EOFError, ValueError):
				return False
			return True
		length = fields.get("content-length")
		return self.take(int(length) if length is not None else None)

	def note(self, req, **more):
		entry = dict(pid=os.getpid(), tid=os.getpid(), comm=COMM, sport=self.sport,
			     cport=self.cport, method=req.method, target=req.target, status=None,
			     req_body=req.body, req_size=len(req.bytes()))
		entry.update(more)
		self.entries.append(entry)
		return entry

	def response(self, req, got=None, interim=()):
		"""Reads the final response to req and notes the exchange."""
		got, interim = got or self.read_head(), list(interim)
		while got and 100 <= got[0] < 200 and got[0] != 101:
			interim.append(got[0])
			got = self.read_head()
		if not got:
			return self.note(req)
		status, fields = got
		begun = self.size
		whole = self.read_body(req.method, status, fields)
		entry = self.note(req, status=status, interim=interim, res_body=self.body,
				  res_size=self.size, res_wire=self.size - begun)
		if not whole:
			entry["outcome"] = "closed"
		return entry

	def ask(self, *args, **kw):
		req = Request(*args, **kw)
		self.send(req.bytes())
		return self.response(req)

	def half_close(self):
		self.sock.shutdown(socket.SHUT_WR)

	def drain(self):
		while self.fill():
			self.data = b""

	def wait_unread(self):
		if not select.select([self.sock], [], [], SECS)[0]:
			raise TimeoutError("nothing came")

	def unacked(self):
		buf = fcntl.ioctl(self.sock, termios.TIOCOUTQ, struct.pack("i", 0))
		return struct.unpack("i", buf)[0]

	def reset(self):
		"""When all that was sent is there: on another CPU a reset can overtake it."""
		if not wait_for(lambda: not self.unacked(), SECS):
			raise TimeoutError("what was sent is not acknowledged")
		self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
		self.sock.close()

	def close(self):
		self.sock.close()
