#!/usr/bin/env python3
"""The pieces of deploy/ that need no daemon: arguments, ports, packages, certificates. The whole of
quickstart runs in .ci/run, in a clean copy."""
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import unittest

import house

DEPLOY = house.SOURCE / "deploy"


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, **options)


class Quickstart(unittest.TestCase):
    def test_arguments_that_make_no_sense_are_named(self):
        for arguments, word in ((["--kms-port", "70000"], "70000"), (["--kms-port"], "--kms-port"),
                                (["--vault-port", "http"], "http"), (["--sideways"], "--sideways"),
                                (["--kms-port", "5000", "--vault-port", "5000"], "5000")):
            with self.subTest(arguments=arguments):
                tried = run(DEPLOY / "quickstart", *arguments)
                self.assertNotEqual(tried.returncode, 0)
                self.assertIn(word, tried.stderr)
                self.assertNotIn("Building", tried.stdout)

    def test_a_port_in_use_is_named_with_what_to_do(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            tried = run(DEPLOY / "quickstart", "--once", "--kms-port", port)
        self.assertEqual(tried.returncode, 1)
        self.assertIn(f"port {port} is in use", tried.stderr)
        self.assertIn("--kms-port", tried.stderr)


class Packages(unittest.TestCase):
    def test_each_purpose_lists_its_packages_and_those_below_it(self):
        listed = {purpose: set(run(DEPLOY / "install-packages", "--list", purpose).stdout.split())
                  for purpose in ("build", "run", "test", "ci")}
        self.assertTrue(listed["build"] | listed["run"] < listed["test"] < listed["ci"], listed)

    def test_an_unknown_purpose_is_named(self):
        tried = run(DEPLOY / "install-packages", "fun")
        self.assertEqual(tried.returncode, 1)
        self.assertIn("fun", tried.stderr)


class Certificates(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.made = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory())) / "pki"
        assert run(DEPLOY / "local-authority", cls.made).returncode == 0

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "pki"
        shutil.copytree(self.made, self.folder)

    def test_keys_are_private_and_certificates_are_not(self):
        for path in self.folder.iterdir():
            self.assertEqual(path.stat().st_mode & 0o777, 0o600 if path.suffix == ".key" else 0o644, path)

    def test_each_certificate_serves_its_purpose_and_no_other(self):
        for name, purpose, good in (("kmsd", "sslserver", True), ("kmsd", "sslclient", False),
                                    ("vaultd", "sslserver", True), ("vaultd", "sslclient", True),
                                    ("app", "sslclient", True), ("app", "sslserver", False),
                                    ("operator", "sslclient", True), ("operator", "sslserver", False)):
            verified = run("openssl", "verify", "-CAfile", self.folder / "ca.crt", "-purpose", purpose,
                           self.folder / f"{name}.crt")
            self.assertEqual(verified.returncode == 0, good, f"{name} as {purpose}: {verified.stderr}")

    def test_a_second_run_keeps_what_is_there_and_makes_what_is_missing(self):
        before = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        (self.folder / "app.key").unlink()
        self.assertEqual(run(DEPLOY / "local-authority", self.folder).returncode, 0)
        after = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        changed = {name for name in after if before.get(name) != after[name]}
        self.assertEqual(changed, {"app.crt", "app.key"})
        ssl.create_default_context(cafile=self.folder / "ca.crt").load_cert_chain(
            self.folder / "app.crt", self.folder / "app.key")

    def test_a_new_authority_voids_what_the_old_one_signed(self):
        (self.folder / "ca.key").unlink()
        self.assertEqual(run(DEPLOY / "local-authority", self.folder).returncode, 0)
        for name in ("kmsd", "vaultd", "operator", "app"):
            verified = run("openssl", "verify", "-CAfile", self.folder / "ca.crt", self.folder / f"{name}.crt")
            self.assertEqual(verified.returncode, 0, verified.stderr)


if __name__ == "__main__":
    house.main()
