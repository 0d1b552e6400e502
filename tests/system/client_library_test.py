#!/usr/bin/env python3
"""The client library for C++ applications as they get it: installed, found by CMake, linked by the example program of
deploy/examples/client, which seals at a real vault."""
import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import house

EXAMPLE = house.SOURCE / "deploy" / "examples" / "client"


class ClientLibrary(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="strongroom-client-")))
        installed = cls.folder / "installed"
        cls.check("cmake", "--install", house.House.programs.parent, "--component", "client", "--prefix", installed)
        cls.installed = sorted(str(path.relative_to(installed)) for path in installed.rglob("*") if not path.is_dir())
        shutil.copytree(EXAMPLE, cls.folder / "example")
        cls.check("cmake", "-G", "Ninja", "-S", cls.folder / "example", "-B", cls.folder / "build",
                  f"-DCMAKE_PREFIX_PATH={installed}")
        cls.check("cmake", "--build", cls.folder / "build")
        cls.house = cls.enterClassContext(house.House())
        cls.kms, cls.vault = cls.house.start_both()

    @staticmethod
    def check(*command):
        done = subprocess.run([str(one) for one in command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    def seal_row(self, text, context="accounts:42", who="app"):
        pki = self.house.pki
        return subprocess.run([self.folder / "build" / "seal_row", f"https://127.0.0.1:{self.vault.port}", pki / "ca.crt",
                               pki / f"{who}.crt", pki / f"{who}.key", context], input=text, capture_output=True, text=True, check=False)

    def test_one_library_and_one_header_are_all_that_is_installed(self):
        self.assertEqual([name for name in self.installed if name.endswith(".h")], ["include/strongroom/vault/client/value_client.h"])
        kinds = {pathlib.PurePath(name).name.split(".")[0] for name in self.installed}
        self.assertEqual({kind.split("-")[0] for kind in kinds}, {"libstrongroom_client", "value_client", "StrongroomConfig", "StrongroomConfigVersion"})

    def test_the_example_seals_opens_and_seals_nothing_twice(self):
        first = self.seal_row('{"access_token":"not-a-token"}')
        self.assertEqual((first.returncode, first.stderr), (0, "sealed, opens to what was given\n"))
        self.assertEqual(json.loads(first.stdout)["__enc"], 2)
        again = self.seal_row(first.stdout)
        self.assertEqual((again.returncode, again.stdout, again.stderr), (0, first.stdout, "unchanged, opens to what was given\n"))
        elsewhere = self.seal_row(first.stdout, context="accounts:43")
        self.assertEqual(elsewhere.returncode, 1)
        self.assertTrue(elsewhere.stderr.startswith("integrity_failure: "), elsewhere.stderr)
        self.assertTrue(self.seal_row("{}", who="operator").stderr.startswith("permission_denied: "))


if __name__ == "__main__":
    house.main()
