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

    def each(self, *names):
        for name in names:
            words = TOPOLOGIES[name]
            yield name, words
            script(name, "down")
            self.assert_nothing_left(name)

    def test_up_status_and_down_in_any_order(self):
        for name, words in self.each(*TOPOLOGIES):
            script(name, "status", code=DOWN)
            script(name, "down")
            script(name, "up", *words)
            self.assertIn(f"{name}: up ({' '.join(words)})", script(name, "status", code=UP))
            made = namespaces()
            script(name, "up", *words)
            self.assertEqual(namespaces(), made)
            # Other options are a mistake, not a reason to take down what somebody uses.
            self.assertIn("take it down first", script(name, "up", code=1))
            script(name, "status", code=UP)
            script(name, "down")
            self.assert_nothing_left(name)
            script(name, "down")

    def test_what_is_partly_there_is_told_and_mended(self):
        for name, words in self.each("home", "lan"):
            script(name, "up", *words)
            mine = [one for one in namespaces() if one.startswith(f"ice.{name}.")]
            ip("netns", "delete", mine[0])
            self.assertIn(f"missing: {mine[0].split('.')[2]}\n", script(name, "status", code=PARTLY))
            script(name, "up", *words)
            script(name, "status", code=UP)
            host = mine[-1]
            interface = ip("-n", host, "-o", "link").splitlines()[-1].split(": ")[1].split("@")[0]
            ip("-n", host, "link", "delete", "dev", interface)
            self.assertIn(f"/{interface}\n", script(name, "status", code=PARTLY))
        script("home", "up")
        subprocess.run(
            ["nsenter", "--net=/run/netns/ice.home.router", "nft", "delete", "table", "inet", "ice"], check=True
        )
        self.assertIn("missing: router:ice", script("home", "status", code=PARTLY))
        script("home", "down")

    def test_an_up_that_fails_leaves_nothing(self):
        for name, words in self.each("lan", "two-paths"):
            with tempfile.TemporaryDirectory() as directory:
                failing = Failing(Path(directory))
                script(name, "up", *words, env=failing.after(10_000))
                calls = failing.count()
                script(name, "down")
                for call in (1, calls // 3, calls - calls // 4, calls - 1):
                    output = script(name, "up", *words, code=1, env=failing.after(call))
                    self.assertEqual(failing.count() >= call, True, output)
                    self.assertIn("what there was of it is removed", output)
                    self.assert_nothing_left(name)

    def test_an_up_that_is_ended_leaves_nothing(self):
        for name, words in self.each("carrier"):
            with tempfile.TemporaryDirectory() as directory:
                # The tenth command ends the script that has called it.
                ending = Failing(Path(directory), 'kill -TERM "$PPID"')
                script(name, "up", *words, code=-signal.SIGTERM, env=ending.after(10))
                self.assert_nothing_left(name)

    def test_programs_in_a_namespace_are_told_and_live_on(self):
        script("lan", "up")
        child = sleeper("ice.lan.laptop")
        try:
            self.assertIn(f"still running in laptop, without a network from now on: process {child.pid} ",
                          script("lan", "down"))
            self.assertIsNone(child.poll())
            self.assert_nothing_left("lan")
        finally:
            child.kill()
            child.wait()
            child.stdout.close()

    def test_misuse_is_told(self):
        for name in TOPOLOGIES:
            with self.subTest(name):
                self.assertIn(f"{name}.sh up", script(name, "help"))
                for words in (["sideways"], ["up", "--no-such-option"], ["up", "Not a word"], ["run"]):
                    self.assertIn(f"{name}.sh up", script(name, *words, code=MISUSED))
        for words in (["ei/xx"], ["ei/ei", "ei/ei", "ei/ei"], ["--timeout", "0"], ["--timeout"], ["--ports", "odd"]):
            script("nat", "up", *words, code=MISUSED)
        for words in (["a", "a"], ["switch"], ["name-too-long-for-it"]):
            script("lan", "up", *words, code=MISUSED)
        script("carrier", "up", "--block", "everything", code=MISUSED)
        script("lan", "unplug", "laptop", code=1)
        self.assertEqual((namespaces(), outside()), self.before)

    def test_a_machine_without_nft_is_told(self):
        with tempfile.TemporaryDirectory() as directory:
            for program in ("bash", "dirname", "readlink", "ip", "nsenter", "id"):
                os.symlink(shutil.which(program, path=environment("/bin")["PATH"]), f"{directory}/{program}")
            # The scripts add the directories of the system's programs themselves.
            lib = Path(directory, "scripts")
            shutil.copytree(SCRIPTS, lib, ignore=shutil.ignore_patterns("tests"))
            text = (lib / "lib.sh").read_text()
            (lib / "lib.sh").write_text(text.replace('"$PATH:/usr/sbin:/sbin"', '"$PATH"'))
            done = subprocess.run(
                [f"{directory}/bash", lib / "lan.sh", "up"], env={"PATH": directory}, stderr=subprocess.PIPE,
                text=True, check=False,
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


if __name__ == "__main__":
    unittest.main()
