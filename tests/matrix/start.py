# SPDX-License-Identifier: GPL-3.0-or-later
"""start.py: the servers of the matrix, each started once: nginx and Apache (static files, the rest
handed to the Python server), Python, Node, Go and Java programs of ours that all know the same
paths (see tests/peers/server.py)."""
import json
import os
import shutil

from rig import free_port, group_comm, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = os.path.join(HERE, "../peers")
PYTHON = "/usr/bin/python3"
APACHE = "/usr/sbin/apache2"
MODULES = "/usr/lib/apache2/modules"

HUGE = 40_000_000		# more than both ends' socket buffers can grow to
SIZES = (0, 1, 5, 77, 300, 1000, 20_000, 200_000, HUGE)		# of the static files
PROXIED = ("echo", "chunked", "status", "drip", "bighead")

# One child that serves, so that it is known whom to end.
APACHE_LOG = ('{"pid":%P,"cport":%{remote}p,"sport":%{local}p,"line":"%r","status":%>s,'
	      '"res_body":%B}')
APACHE_CONF = """
ServerName matrix.test
ServerRoot {home}
PidFile {home}/pid
DefaultRuntimeDir {home}
Mutex file:{home}
ErrorLog {home}/error.log
Listen 127.0.0.1:{port}
{modules}
User www-data
Group www-data
ServerLimit 1
StartServers 1
ThreadsPerChild 16
ThreadLimit 16
MaxRequestWorkers 16
MinSpareThreads 1
MaxSpareThreads 16
MaxKeepAliveRequests 0
KeepAliveTimeout 60
LimitRequestFieldSize 300000
TraceEnable Off
EnableSendfile Off
FileETag None
LogFormat "{fields}" t
CustomLog {home}/access.log t
DocumentRoot {home}/www
<Directory {home}/www>
	Require all granted
</Directory>
AllowCONNECT {backend}
ProxyRequests On
<Proxy *>
	Require all granted
</Proxy>
{passes}
"""

NGINX_CONF = """
	sendfile off; tcp_nodelay on; client_max_body_size 100m;
	large_client_header_buffers 8 256k; client_header_buffer_size 256k;
	access_log {log} t;
	location / {{ }}
	location ~ ^/({paths}|ws)(/|$) {{
		proxy_pass http://127.0.0.1:{backend};
		proxy_http_version 1.1; proxy_buffering off;
		proxy_buffer_size 512k; proxy_buffers 8 256k; proxy_busy_buffers_size 1m;
		proxy_set_header Upgrade $http_upgrade;
		proxy_set_header Connection $http_connection;
	}}
"""


class Server:
	"""can: which of the things that not all can do; killable: whom to end, with SIGKILL, to end
	what serves (a worker of nginx and Apache, which then start another)."""

	def __init__(self, name, port, child, log, can=()):
		self.name, self.port, self.child, self.log = name, port, child, log
		self.can = set(can)
		self.comm = group_comm(child.pid)
		self.front = name in ("nginx", "apache")
		self.at = 0

	def killable(self):
		if not self.front:
			return self.child.pid
		with open(f"/proc/{self.child.pid}/task/{self.child.pid}/children") as f:
			return int((f.read().split() or [0])[0])

	def mark(self):
		"""What was logged until now is not asked for again."""
		self.at = os.path.getsize(self.log) if os.path.exists(self.log) else 0

	def entries(self):
		out = []
		if not os.path.exists(self.log):
			return out
		with open(self.log, "rb") as f:
			f.seek(self.at)
			lines = f.read().split(b"\n")[:-1]
		for line in lines:
			e = json.loads(line)
			if "line" in e:		# Apache
				e["method"], e["target"] = e.pop("line").split(" ")[:2]
			e["comm"] = self.comm
			out.append(e)
		return out


def fill(www):
	os.makedirs(os.path.join(www, "b"), exist_ok=True)
	for n in SIZES:
		with open(os.path.join(www, "b", str(n)), "wb") as f:
			f.write(b"f" * n)


def start_python(rig):
	port, log = free_port(), os.path.join(rig.tmp, "python.log")
	child = rig.server([PYTHON, os.path.join(PEERS, "server.py"), log, "HTTP/1.1",
			    f"127.0.0.1:{port}"], [port], "python")
	return [Server("python", port, child, log, ("ws", "connect"))]


def start_node(rig):
	port, log = free_port(), os.path.join(rig.tmp, "node.log")
	child = rig.server(["node", "--max-http-header-size=400000",
			    os.path.join(PEERS, "server.js"), log, f"127.0.0.1:{port}"], [port], "node")
	return [Server("node", port, child, log, ("ws", "connect"))]


def start_go(rig):
	ports, log = [free_port(), free_port()], os.path.join(rig.tmp, "go.log")
	prog = os.path.join(rig.tmp, "matrix-go")
	# The compiler's own cache is the user's; nothing is fetched.
	env = dict(os.environ, GOPROXY="off", GOFLAGS="-mod=mod", GO111MODULE="on", CGO_ENABLED="0",
		   GOTOOLCHAIN="local")
	env.setdefault("GOCACHE", os.path.join(os.path.expanduser("~"), ".cache", "go-build"))
	env.setdefault("GOPATH", os.path.join(rig.tmp, "go"))
	done = rig.run(["go", "build", "-o", prog, os.path.join(HERE, "servers/server.go")], secs=240,
		       env=env)
	if done.returncode:
		raise RuntimeError(f"go build: {done.stderr_text[-500:]}")
	child = rig.server([prog, log, *map(str, ports)], ports, "go")
	return [Server("go", ports[0], child, log, ("ws", "connect")),
		Server("go-bytes", ports[1], child, log, ())]


def start_java(rig):
	port, log = free_port(), os.path.join(rig.tmp, "java.log")
	child = rig.server(["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
			    os.path.join(HERE, "servers/Server.java"), log, str(port)],
			   [port], "java", secs=60)
	return [Server("java", port, child, log)]


def start_nginx(rig, backend):
	port = free_port()
	home = os.path.join(rig.tmp, "nginx")
	os.makedirs(home)
	fill(os.path.join(home, "www"))
	log = os.path.join(home, "t.log")
	child = rig.nginx("nginx", [f"127.0.0.1:{port}"], NGINX_CONF.format(
		log=log, paths="|".join(PROXIED), backend=backend))
	return [Server("nginx", port, child, log, ("ws",))]


def start_apache(rig, backend):
	port = free_port()
	home = os.path.join(rig.tmp, "apache")
	os.makedirs(home)
	fill(os.path.join(home, "www"))
	names = ("mpm_event", "authz_core", "proxy", "proxy_http", "proxy_connect", "proxy_wstunnel")
	modules = "\n".join(f"LoadModule {n}_module {MODULES}/mod_{n}.so" for n in names)
	to = f"127.0.0.1:{backend}"
	passes = f"ProxyPass /ws ws://{to}/ws\n" + "\n".join(
		f"ProxyPass /{p}/ http://{to}/{p}/ disablereuse=on" for p in PROXIED if p != "echo") + \
		f"\nProxyPass /echo http://{to}/echo disablereuse=on\n"
	conf = os.path.join(home, "apache.conf")
	with open(conf, "w") as f:
		f.write(APACHE_CONF.format(home=home, port=port, backend=backend, passes=passes,
					   modules=modules,
					   fields=APACHE_LOG.replace('"', '\\"')))
	child = rig.server([APACHE, "-DFOREGROUND", "-f", conf], [port], "apache")
	wait_for(lambda: Server("apache", port, child, "").killable(), 5)
	return [Server("apache", port, child, os.path.join(home, "access.log"), ("ws", "connect"))]


def start_all(rig, t):
	"""Those whose runtime is here; a skip for each other."""
	out = start_python(rig)
	backend = out[0].port
	for name, prog, start in (("nginx", "nginx", lambda: start_nginx(rig, backend)),
				  ("apache", APACHE, lambda: start_apache(rig, backend)),
				  ("node", "node", lambda: start_node(rig)),
				  ("go", "go", lambda: start_go(rig)),
				  ("java", "javac", lambda: start_java(rig))):	# a JRE is not enough
		if shutil.which(prog):
			out += start()
		else:
			t.skip(f"server {name}", f"{prog} is not installed")
	return out
