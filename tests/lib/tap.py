# SPDX-License-Identifier: GPL-3.0-or-later
"""tap.py: TAP from Python. One point a fact; a failed one shows what was expected."""
import os
import sys


class Tap:
	SHOWN = 12		# lines of detail under a failed point: enough to begin with

	def __init__(self):
		self.n = self.bad = 0

	def ok(self, good, name, *detail):
		self.n += 1
		name = name.replace("#", "%")
		print(f"{'' if good else 'not '}ok {self.n} - {name}")
		if not good:
			self.bad += 1
			lines = [l for d in detail for l in str(d).splitlines()]
			for line in lines[:self.SHOWN]:
				print("#   " + line[:1500])
			if len(lines) > self.SHOWN:
				print(f"#   … and {len(lines) - self.SHOWN} lines more")
		sys.stdout.flush()
		return bool(good)

	def eq(self, got, want, name, *detail):
		return self.ok(got == want, name, f"got:  {got!r}", f"want: {want!r}", *detail)

	def none(self, problems, name):
		"""Passes if the list of problems is empty; shows it otherwise."""
		return self.ok(not problems, name, *problems)

	def skip(self, name, why):
		self.n += 1
		print(f"ok {self.n} - {name} # SKIP {why}", flush=True)

	def note(self, text):
		print(f"# {text}", flush=True)

	def done(self):
		print(f"1..{self.n}", flush=True)
		return 1 if self.bad else 0


def skip_all(why):
	print(f"ok 1 - {os.path.basename(sys.argv[0])} # SKIP {why}\n1..1", flush=True)
	sys.exit(0)
