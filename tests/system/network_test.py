#!/usr/bin/env python3
"""kmsd's places and routes as an operator configures them: a UNIX socket that curl speaks to, and
`--check-config`, which knows every path that is served and no other."""
import contextlib
import json
import os
import shutil
import subprocess
import unittest

import house


class Network(unittest.TestCase):
    def setUp(self):
        self.house = self.enterContext(house.House())

    def check(self, name):
        return subprocess.run(
            [self.house.bin / name, "--config", self.house.folder / name / f"{name}.json", "--check-config"],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, cwd="/",
            env={"PATH": os.environ["PATH"], **house.SANITIZER}, **self.house.as_daemon)

    @unittest.skipUnless(shutil.which("curl"), "curl is not installed")
    def test_curl_speaks_to_a_unix_socket(self):
        path = self.house.folder / "kmsd" / "kmsd.sock"
        self.house.configure("kmsd", {"listen": {"address": f"unix:{path}", "mode": "0666"}})
        (self.house.folder / "kmsd").chmod(0o711)
        daemon = house.Daemon(self.house, "kmsd")
        house.wait_until(path.exists, "the socket")

        def curl(*more):
            pki = self.house.pki
            return subprocess.run(["curl", "--silent", "--show-error", "--max-time", "30", "--unix-socket", path,
                                   "--cacert", pki / "ca.crt", "--write-out", "\n%{http_code}", *more],
                                  capture_output=True, text=True, check=False)

        known = ("--cert", self.house.pki / "operator.crt", "--key", self.house.pki / "operator.key")
        healthy = curl("https://localhost/healthz")
        self.assertEqual(healthy.stdout, '{"status":"ok"}\n200', healthy.stderr)
        listed = curl(*known, "https://localhost/v1/keys")
        self.assertEqual(listed.stdout.splitlines()[-1], "200", listed.stderr + listed.stdout)
        self.assertEqual(json.loads(listed.stdout.splitlines()[0])["keys"], [])
        self.assertEqual(curl("https://localhost/v1/keys").stdout.splitlines()[-1], "401")
        code, _ = daemon.stop()
        self.assertEqual(code, 0)
        self.assertFalse(path.exists())

    def everything(self, name, **options):
        """A configuration with every room that has routes."""
        folder = self.house.folder / name
        self.house.write(folder / "api-tokens.key", "k" * 43 + "\n")
        self.house.write(folder / "budgets.json", (house.SOURCE / "policies" / "budgets.json").read_text())
        changes = {"identity": {"api_tokens": {"key_file": "api-tokens.key"}}, "budgets": {"file": "budgets.json"}}
        if name == "kmsd":  # which signs by itself
            changes["audit"] = {"directory": "audit", "checkpoints": {"records": 1000, "seconds": 5}}
        self.house.configure(name, changes, **options)
        return changes

    def served(self, daemon, name):
        with contextlib.closing(self.house.client(daemon, "operator")) as client:
            answer = client.call("GET", "/openapi.json")
            self.assertEqual(answer.status, 200, answer)
            return answer.json()["paths"]

    def test_a_check_knows_the_paths_that_are_served(self):
        for name, port in (("kmsd", 0), ("vaultd", 9)):
            changes = self.everything(name, kms_port=port)
            daemon = self.house.start(name)
            paths = sorted(self.served(daemon, name))
            daemon.stop()
            self.assertGreater(len(paths), 10)
            for paths_of_one in (paths[start:start + 20] for start in range(0, len(paths), 20)):
                changes["identity"]["routes"] = [{"path": path, "methods": ["client_certificate"]} for path in paths_of_one]
                self.house.configure(name, changes, kms_port=port)
                done = self.check(name)
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_check_refuses_a_rule_for_a_path_that_is_not_served(self):
        for name, port in (("kmsd", 0), ("vaultd", 9)):
            changes = self.everything(name, kms_port=port)
            changes["identity"]["routes"] = [{"path": "/v1/kyes", "methods": ["client_certificate"]}]
            self.house.configure(name, changes, kms_port=port)
            done = self.check(name)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn("/v1/kyes, which fits no route", done.stderr)
            # A room that is not there has no routes.
            self.house.configure(name, {"identity": {"routes": [
                {"path": "/v1/api-tokens", "methods": ["client_certificate"]}]}}, kms_port=port)
            self.assertIn("/v1/api-tokens, which fits no route", self.check(name).stderr)


if __name__ == "__main__":
    house.main()
