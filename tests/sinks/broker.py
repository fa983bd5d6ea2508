# SPDX-License-Identifier: GPL-3.0-or-later
"""broker.py: a real Apache Kafka broker for tests: one node, KRaft, from the jars on Maven Central
(56 MB, fetched once into the build folder). It can be stalled, killed and started again: its data
and port stay. Where the jars or a Java are not to be had: librdkafka's mock cluster in a process of
its own, which can be stalled, but forgets everything when it ends.
"""
import glob
import os
import shutil
import signal
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{ctl}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{ctl}{more}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{more}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL
log.dirs={data}
num.partitions=4
auto.create.topics.enable={auto}
num.network.threads=2
num.io.threads=2
background.threads=2
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
log.retention.ms=-1
"""
# Records of the generator carry a fixed date; without the last line above the broker would throw
# them away as a week old.

# A listener with TLS and a password beside the open one.
SECURE = """\
ssl.keystore.type=PKCS12
ssl.keystore.location={store}
ssl.keystore.password=keystore
sasl.enabled.mechanisms=PLAIN
listener.name.secure.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_osprey="{password}";
"""

LOG4J = """\
log4j.rootLogger=WARN,out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c %m%n
"""


def jars(cache):
	"""(classpath, None), or (None, why there is none)."""
	if not shutil.which("java"):
		return None, "no java"
	have = os.path.join(cache, "jars")
	if not os.path.exists(os.path.join(cache, "complete")):
		if not shutil.which("mvn"):
			return None, "no mvn to fetch the broker with"
		os.makedirs(cache, exist_ok=True)
		try:
			got = subprocess.run(
				["mvn", "-q", "-B", "-f", os.path.join(HERE, "pom.xml"),
				 "dependency:copy-dependencies", "-DincludeScope=runtime",
				 f"-DoutputDirectory={have}"], stdin=subprocess.DEVNULL,
				stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
		except subprocess.TimeoutExpired:
			return None, "mvn took more than 120 s"
		if got.returncode or not glob.glob(os.path.join(have, "kafka_2.13-*.jar")):
			last = [l for l in got.stdout.splitlines() if l.strip()][:1]
			return None, "the broker's jars can't be fetched: " + " ".join(last)[:200]
		open(os.path.join(cache, "complete"), "w").close()
	return os.path.join(have, "*"), None


class Base:
	"""What a broker is to a test. address: for brokers=; rig ends the process with the test."""

	def __init__(self, rig):
		self.rig = rig
		self.child = None
		self.address = None

	def answers(self):
		try:
			return subprocess.run(["kcat", "-b", self.address, "-L", "-m", "1"],
					      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
					      stderr=subprocess.DEVNULL, timeout=5).returncode == 0
		except subprocess.TimeoutExpired:
			return False

	def stall(self):
		self.child.send_signal(signal.SIGSTOP)

	def go_on(self):
		self.child.send_signal(signal.SIGCONT)

	def kill(self):
		self.child.kill()
		self.child.wait()

	def down(self):
		self.go_on()
		self.rig.end(self.child, 20)


class RealBroker(Base):
	kind = "Apache Kafka 3.9.1"
	keeps = True			# its data outlive its process
	password = "a-password-of-the-test"

	def __init__(self, rig, classpath, port, ctl, sec):
		super().__init__(rig)
		self.dir = os.path.join(rig.tmp, "broker")
		os.makedirs(self.dir)
		self.ports = port, ctl
		self.address = f"127.0.0.1:{port}"
		self.secure = self.cert = None
		if shutil.which("openssl"):
			self.secure = f"127.0.0.1:{sec}"
			self.make_keys()
		with open(os.path.join(self.dir, "log4j.properties"), "w") as f:
			f.write(LOG4J)
		# The first compiler alone: a test's broker does not live long enough for the second.
		self.java = ["java", "-Xms192m", "-Xmx384m", "-XX:+UseSerialGC",
			     "-XX:TieredStopAtLevel=1", "-XX:MaxDirectMemorySize=128m",
			     f"-Dlog4j.configuration=file:{self.dir}/log4j.properties", "-cp", classpath]
		self.log = open(os.path.join(self.dir, "log"), "ab")
		self.configure()
		self.rig.must(self.java + ["kafka.tools.StorageTool", "format", "-t",
					   "b3NwcmV5LXRlc3RzLTAwMQ", "-c", self.conf])

	def make_keys(self):
		self.cert, key = (os.path.join(self.dir, n) for n in ("cert.pem", "key.pem"))
		self.rig.must(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
			       "-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1",
			       "-keyout", key, "-out", self.cert])
		self.rig.must(["openssl", "pkcs12", "-export", "-in", self.cert, "-inkey", key,
			       "-passout", "pass:keystore", "-out", os.path.join(self.dir, "store")])

	def configure(self, auto_create=True):
		self.conf = os.path.join(self.dir, "server.properties")
		with open(self.conf, "w") as f:
			f.write(PROPERTIES.format(port=self.ports[0], ctl=self.ports[1],
						  data=os.path.join(self.dir, "data"),
						  auto=str(auto_create).lower(),
						  more=self.secure and f",SECURE://{self.secure}" or ""))
			if self.secure:
				f.write(SECURE.format(store=os.path.join(self.dir, "store"),
						      password=self.password))

	def start(self):
		self.child = self.rig.popen(self.java + ["kafka.Kafka", self.conf],
					    stdout=self.log, stderr=self.log)

	def up(self, secs=60):
		self.start()
		end = time.monotonic() + secs
		while not self.answers():
			if self.child.poll() is not None or time.monotonic() > end:
				with open(self.log.name, errors="replace") as f:
					raise RuntimeError("the broker did not come up: " +
							   f.read()[-600:])
			time.sleep(0.2)


class MockBroker(Base):
	kind = "librdkafka's mock cluster"
	keeps = False
	secure = None

	def __init__(self, rig, program):
		super().__init__(rig)
		self.program = program

	def up(self, secs=20):
		self.child = self.rig.popen([self.program], stdout=subprocess.PIPE, text=True)
		self.address = self.child.stdout.readline().strip().replace(",", "+")
		if not self.address:
			raise RuntimeError("the mock cluster did not come up")


def make(rig, out, free_port):
	"""(broker, why not a real one), or (None, why none at all)."""
	if not shutil.which("kcat"):
		return None, "no kcat"
	# One copy of the jars for all builds below one folder (build, build/san).
	top = os.path.dirname(out) if os.path.basename(out) in ("san", "nobpf") else out
	cache = os.environ.get("OSP_KAFKA_JARS") or os.path.join(top, "kafka")
	classpath, why = jars(cache)
	if classpath:
		return RealBroker(rig, classpath, free_port(), free_port(), free_port()), None
	mock = os.path.join(out, "tests", "sinks", "mock_cluster")
	if os.access(mock, os.X_OK):
		return MockBroker(rig, mock), why
	return None, why
