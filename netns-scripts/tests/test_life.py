"""up, down and status of every topology: any order, any number of times, and nothing left behind."""

import os
import shutil
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness import SCRIPTS, environment, ip, namespaces, outside, script, sleeper

# Each with options other than the default ones.
TOPOLOGIES = {
    "lan": ["one", "two"],
    "home": ["ad/apd", "--timeout", "60"],
    "nat": ["ei/ei", "masquerade", "--ports", "random"],
    "cgnat": ["ei/ei", "apd/apd"],
    "carrier": ["--block", "stun"],
    "two-paths": ["ei/ad", "--hairpin", "no"],
}
UP, DOWN, PARTLY, CANNOT, MISUSED = 0, 1, 2, 3, 64


class Life(unittest.TestCase):
    def setUp(self):
        # Neighbours by name, which no script may touch.
        for name in ("ice.other.laptop", "ice.laptop", "home"):
            ip("netns", "add", name)
            self.addCleanup(ip, "netns", "delete", name)
        self.before = namespaces(), outside()

    def assert_nothing_left(self, name):
        script(name, "status", code=DOWN)
        self.assertEqual((namespaces(), outside()), self.before)


class UpAndDown(Life):
    def in_any_order(self, name):
        words = TOPOLOGIES[name]
        script(name, "down")
        script(name, "up", *words)
        self.assertIn(f"{name}: up ({' '.join(words)})", script(name, "status", code=UP))
        made = namespaces()
        script(name, "up", *words)
        self.assertEqual(namespaces(), made)
        # Other options are a mistake, not a reason to take down what somebody uses.
        self.assertIn("take it down first", script(name, "up", code=1))
        self.assertEqual(namespaces(), made)
        script(name, "down")
        self.assert_nothing_left(name)

    def test_lan(self):
        self.in_any_order("lan")

    def test_home(self):
        self.in_any_order("home")

    def test_nat(self):
        self.in_any_order("nat")

    def test_cgnat(self):
        self.in_any_order("cgnat")

    def test_carrier(self):
        self.in_any_order("carrier")

    def test_two_paths(self):
        self.in_any_order("two-paths")

    def test_programs_in_a_namespace_are_told_and_live_on(self):
        script("lan", "up")
        child = sleeper("ice.lan.laptop")
        try:
            told = f"still running in laptop, without a network from now on: process {child.pid} "
            self.assertIn(told, script("lan", "down"))
            self.assertIsNone(child.poll())
            self.assert_nothing_left("lan")
        finally:
            child.kill()
            child.wait()
            child.stdout.close()


class Partly(Life):
    def test_what_is_partly_there_is_told_and_mended(self):
        script("home", "up")
        ip("netns", "delete", "ice.home.control")
        self.assertIn("missing: control\n", script("home", "status", code=PARTLY))
        script("home", "up")
        script("home", "status", code=UP)
        ip("-n", "ice.home.laptop", "link", "delete", "dev", "eth0")
        # A wire has two ends.
        self.assertIn("missing: laptop/eth0\nmissing: router/laptop-eth0\n", script("home", "status", code=PARTLY))
        script("home", "down")
        self.assert_nothing_left("home")

    def test_rules_that_are_gone_are_told(self):
        script("carrier", "up")
        for table in ("ice", "block"):
            inside = ("nsenter", "--net=/run/netns/ice.carrier.o2")
            subprocess.run([*inside, "nft", "delete", "table", "inet", table], check=True)
            self.assertIn(f"missing: o2:{table}\n", script("carrier", "status", code=PARTLY))
        script("carrier", "down")
        self.assert_nothing_left("carrier")


class Failures(Life):
    def test_an_up_that_fails_leaves_nothing(self):
        for name, words in (("lan", ["one", "two"]), ("two-paths", [])):
            with self.subTest(name), tempfile.TemporaryDirectory() as directory:
                failing = Failing(Path(directory))
                script(name, "up", *words, env=failing.after(10_000))
                calls = failing.count()
                script(name, "down")
                # From the first command to the last.
                for call in (1, calls // 2, calls):
                    output = script(name, "up", *words, code=1, env=failing.after(call))
                    self.assertGreaterEqual(failing.count(), call, output)
                    self.assertIn("what there was of it is removed", output)
                    self.assert_nothing_left(name)

    def test_an_up_that_is_ended_leaves_nothing(self):
        with tempfile.TemporaryDirectory() as directory:
            ending = Failing(Path(directory), 'kill -TERM "$PPID"')
            script("home", "up", code=-signal.SIGTERM, env=ending.after(30))
            self.assertGreaterEqual(ending.count(), 30)
            self.assert_nothing_left("home")


class Misuse(Life):
    def test_misuse_is_told(self):
        for name in TOPOLOGIES:
            with self.subTest(name):
                self.assertIn(f"{name}.sh up", script(name, "help"))
                self.assertIn(f"{name}.sh up", script(name, "sideways", code=MISUSED))
                self.assertIn(f"{name}.sh up", script(name, "up", "--no-such-option", code=MISUSED))
        for words in (["ei/xx"], ["ei/ei", "ei/ei", "ei/ei"], ["--timeout", "0"], ["--timeout"], ["--ports", "odd"]):
            script("nat", "up", *words, code=MISUSED)
        for words in (["a", "a"], ["switch"], ["name-too-long-for-it"]):
            script("lan", "up", *words, code=MISUSED)
        script("carrier", "up", "--block", "everything", code=MISUSED)
        script("lan", "run", code=MISUSED)
        script("lan", "unplug", "laptop", code=1)
        self.assertEqual((namespaces(), outside()), self.before)

    def test_a_machine_without_nft_is_told(self):
        with tempfile.TemporaryDirectory() as directory:
            for program in ("bash", "dirname", "readlink", "ip", "nsenter", "id"):
                os.symlink(shutil.which(program, path=environment("/bin")["PATH"]), f"{directory}/{program}")
            scripts = Path(directory, "scripts")
            shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("tests"))
            # Otherwise the scripts add the directories of the system's programs themselves.
            lib = scripts / "lib.sh"
            lib.write_text(lib.read_text().replace('"$PATH:/usr/sbin:/sbin"', '"$PATH"'))
            done = subprocess.run(
                [f"{directory}/bash", scripts / "lan.sh", "up"], env={"PATH": directory},
                stderr=subprocess.PIPE, text=True, check=False,
            )
            self.assertEqual((done.returncode, done.stderr), (CANNOT, "lan: needs nft (Debian package nftables)\n"))


class Failing:
    """Takes the place of ip, nft and nsenter; the call of that number goes wrong."""

    def __init__(self, directory, trouble="exit 9"):
        self.directory, self.calls = directory, directory / "calls"
        for program in ("ip", "nsenter"):
            path = directory / program
            path.write_text(
                "#!/bin/sh\n"
                f"echo >> {self.calls}\n"
                f'[ "$(wc -l < {self.calls})" -ne "$FAILS_AT" ] || {{ {trouble}; }}\n'
                f'exec {shutil.which(program, path=environment("/bin")["PATH"])} "$@"\n'
            )
            path.chmod(0o755)

    def after(self, number):
        self.calls.write_text("")
        return {**environment(self.directory), "FAILS_AT": str(number)}

    def count(self):
        return len(self.calls.read_text().splitlines())


del Life

if __name__ == "__main__":
    unittest.main()
