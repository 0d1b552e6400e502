#!/usr/bin/env python3
"""The one-file client for Node against a real vault: starts a house and runs node_client_test.mjs in it."""
import json
import os
import shutil
import subprocess
import unittest

import house

TESTS = house.SOURCE / "tests" / "system" / "node_client_test.mjs"


@unittest.skipUnless(shutil.which("node"), "node is not installed")
class NodeClient(unittest.TestCase):
    def test_it_keeps_what_it_promises(self):
        with house.House() as strongroom:
            kms, vault = strongroom.start_both()
            where = {"vaultPort": vault.port, "kmsPort": kms.port, "kmsPid": kms.pid, "pki": str(strongroom.pki)}
            done = subprocess.run(["node", "--test", "--test-reporter=tap", TESTS], capture_output=True, text=True, check=False, timeout=120,
                                  env={"PATH": os.environ["PATH"], "STRONGROOM_HOUSE": json.dumps(where)})
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertRegex(done.stdout, r"# pass [1-9]")
            said = done.stdout + vault.log.read_text() + kms.log.read_text()
            for file in (strongroom.folder / "vaultd" / "audit").iterdir():
                said += file.read_text(errors="replace")
            self.assertIn('"action":"seal"', said)
            self.assertNotIn("not-a-token", said)


if __name__ == "__main__":
    house.main()
