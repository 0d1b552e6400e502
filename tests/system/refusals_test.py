#!/usr/bin/env python3
"""What keeps a daemon from starting: each cause ends it with exit code 1 and a sentence on standard
error that names the cause and quotes no secret."""
import os
import shutil
import socket
import subprocess
import sys
import unittest

import house

sys.path.append(str(house.SOURCE / "tests" / "support" / "faulty_pkcs11"))
from faulty_pkcs11 import FaultControl  # noqa: E402

CANARY = "canary-value-31337"


class Refusals(unittest.TestCase):
    def setUp(self):
        self.house = self.enterContext(house.House())

    def refused(self, *words, name="kmsd", **options):
        """Starts the daemon, which must end with code 1 and say `words`."""
        daemon = house.Daemon(self.house, name, **options)
        self.assertEqual(daemon.wait_exit(), 1, daemon.log.read_text())
        said = daemon.log.read_text()
        for word in words:
            self.assertIn(word, said)
        self.assertNotIn(CANARY, said)
        self.assertNotIn("terminate called", said)
        return said

    def test_a_secret_in_the_environment_is_refused_by_both_daemons(self):
        self.house.configure("vaultd", kms_port=9)
        for name in ("kmsd", "vaultd"):
            for variable in ("CREDENTIALS_ENC_KEY_B64", "KMS_PIN", "DB_PASSWORD", "ENCRYPTION_KEY"):
                with self.subTest(name=name, variable=variable):
                    self.refused(variable, name=name, environment={variable: CANARY})

    def test_an_empty_variable_or_a_harmless_name_is_no_secret(self):
        daemon = house.Daemon(self.house, "kmsd", environment={"KMS_PIN": "", "KEYBOARD": "us", "PINNED": "yes"})
        daemon.wait_ready()

    def test_a_secret_in_the_arguments_is_refused_by_both_daemons(self):
        self.house.configure("vaultd", kms_port=9)
        for name in ("kmsd", "vaultd"):
            for arguments in (["--pin", CANARY], [f"--pin={CANARY}"], ["--password", CANARY], [f"--key={CANARY}"]):
                with self.subTest(name=name, arguments=arguments[0]):
                    self.refused("--" + arguments[0].lstrip("-").split("=")[0], name=name, arguments=arguments)

    def test_a_port_in_use_is_named(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.house.configure("kmsd", {"listen": {"address": "127.0.0.1", "port": port}})
            self.refused(str(port))

    def test_a_missing_certificate_is_named(self):
        (self.house.pki / "kmsd.crt").unlink()
        self.refused("kmsd.crt")

    def test_a_key_file_that_others_can_read_is_refused(self):
        (self.house.pki / "kmsd.key").chmod(0o644)
        self.refused("kmsd.key", "0600")

    def test_a_pin_file_that_others_can_read_is_refused(self):
        (self.house.folder / "kmsd" / "user.pin").chmod(0o640)
        self.refused("user.pin", "0600")

    def test_a_missing_pin_file_is_named(self):
        (self.house.folder / "kmsd" / "user.pin").unlink()
        self.refused("user.pin")

    def test_a_wrong_pin_is_named_and_tried_once(self):
        faults = FaultControl.beside(self.house.folder, house.House.programs / "faulty_pkcs11.so", self.house.module)
        self.house.module = str(faults.library)
        self.house.configure("kmsd")
        self.house.write(self.house.folder / "kmsd" / "user.pin", CANARY + "\n")
        self.assertIn("PIN", self.refused())
        self.assertEqual(faults.counts()["C_Login"], (1, 0, 1))  # calls, struck, failed

    def test_a_missing_token_is_named_and_never_made(self):
        tokens = self.house.folder / "kmsd" / "tokens"
        for token in tokens.iterdir():
            shutil.rmtree(token)
        self.refused("strongroom")
        self.assertEqual(list(tokens.iterdir()), [])

    def test_a_missing_module_is_named(self):
        self.house.module = "/nowhere/libnothing.so"
        self.house.configure("kmsd")
        self.refused("/nowhere/libnothing.so")

    def test_an_unknown_configuration_field_is_named(self):
        self.house.configure("kmsd", {"surprise": True})
        self.refused("surprise")

    def test_a_broken_policy_file_is_named(self):
        self.house.write(self.house.folder / "kmsd" / "policy.json", '{"version": 1, "roles": 7}')
        self.refused("policy.json")

    def test_a_missing_configuration_file_is_named(self):
        (self.house.folder / "kmsd" / "kmsd.json").unlink()
        self.refused("kmsd.json")

    def test_a_second_daemon_on_the_same_files_is_refused(self):
        self.house.start("kmsd")
        self.refused("in use by another process")

    @unittest.skipUnless(os.geteuid() == 0, "only root can try to be root")
    def test_root_is_refused(self):
        for name in ("kmsd", "vaultd"):
            tried = subprocess.run([self.house.bin / name, "--config", self.house.folder / "kmsd" / "kmsd.json"],
                                   capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, check=False)
            self.assertEqual(tried.returncode, 1, tried.stderr)
            self.assertIn("root", tried.stderr)

    def test_a_token_is_never_made_over_another(self):
        folder = self.house.folder / "kmsd"
        tried = subprocess.run(
            [self.house.bin / "strongroom-token-init", "--module", self.house.module, "--softhsm-config",
             folder / "softhsm2.conf", "--label", "strongroom", "--so-pin-file", folder / "so.pin", "--pin-file",
             folder / "user.pin"], capture_output=True, text=True, check=False, **self.house.as_daemon)
        self.assertEqual(tried.returncode, 1)
        self.assertIn("there already", tried.stderr)


if __name__ == "__main__":
    house.main()
