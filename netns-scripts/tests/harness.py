"""Runs the topologies' scripts, and compares namespaces before and after."""

import os
import subprocess
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
NAMES = Path("/run/netns")


def script(name, *words, code=0, env=None):
    """Runs NAME.sh, which must end with that code; gives what it printed."""
    done = subprocess.run(
        [SCRIPTS / f"{name}.sh", *map(str, words)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=env, timeout=120, check=False,
    )
    if done.returncode != code:
        raise AssertionError(
            f"{name}.sh {' '.join(map(str, words))}: code {done.returncode} instead of {code}:\n{done.stdout}"
        )
    return done.stdout


def ip(*words):
    return subprocess.run(["ip", *words], stdout=subprocess.PIPE, text=True, check=True).stdout


def namespaces():
    return sorted(path.name for path in NAMES.iterdir()) if NAMES.exists() else []


def outside():
    """All that a script could change outside its namespaces."""
    rules = subprocess.run(["nft", "list", "ruleset"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return rules + ip("-o", "link") + ip("-o", "address") + ip("rule") + ip("route", "show", "table", "all")


class Topology(unittest.TestCase):
    """One topology, up while the class is tested."""

    name = ""
    words = ()

    @classmethod
    def setUpClass(cls):
        script(cls.name, "up", *cls.words)
        cls.addClassCleanup(script, cls.name, "down")

    @classmethod
    def ns(cls, host):
        return f"ice.{cls.name}.{host}"

    def opens(self, one):
        """Closed when the test ends."""
        self.addCleanup(one.close)
        return one


def sleeper(namespace):
    """A process in that namespace; waits until it is there."""
    child = subprocess.Popen(
        ["ip", "netns", "exec", namespace, "sh", "-c", "echo here; exec sleep 600"], stdout=subprocess.PIPE
    )
    child.stdout.readline()
    return child


def environment(path_first):
    return {**os.environ, "PATH": f"{path_first}:{os.environ['PATH']}:/usr/sbin:/sbin"}
