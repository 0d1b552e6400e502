"""What the tests of moving in share: exports as applications have them, and vaultctl at work on them."""
import base64
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys

import house

sys.path.insert(0, str(house.SOURCE / "tests" / "vectors"))
from openssl_envelope import gcm  # noqa: E402

# How many records are in their target when the import is killed: it goes there in hundreds.
KILLS_AT = range(0, 100 * house.number("ROUNDS", 1, 4), 100) if house.IS_LONG else (100,)

RING = {"v1": os.urandom(32), "v2": os.urandom(32)}


def ring_text():
    return json.dumps({name: base64.b64encode(key).decode() for name, key in RING.items()})


def envelope(secret, kid="v1", bound=""):
    iv = os.urandom(12)
    sealed = gcm(RING[kid], iv, bound.encode(), json.dumps(secret).encode())
    return {"__enc": 1, "kid": kid, "iv": base64.b64encode(iv).decode(), "ct": base64.b64encode(sealed).decode()}


def nested(levels):
    """A secret that nests that deep."""
    return {"token": nested(levels - 1)} if levels > 1 else {"token": "not-a-token"}


def secret_of(number):
    return {"access_token": f"not-a-token-{number}", "n": number}


def call(strongroom, vault, *arguments):
    """As the application; asked again while the vault is busy."""
    def answered():
        with contextlib.closing(strongroom.client(vault, "app")) as client:
            answer = client.call(*arguments)
            return answer if answer.status != 503 else None

    return house.wait_until(answered, f"{arguments[:2]} without 503")


class Tool:
    """vaultctl as the application, in a folder of its own."""

    def __init__(self, strongroom, vault):
        self.folder = strongroom.folder / "moving"
        self.folder.mkdir()
        pki = strongroom.pki
        self.start = [str(strongroom.bin / "vaultctl"), "--url", f"https://127.0.0.1:{vault.port}", "--ca", str(pki / "ca.crt"),
                      "--certificate", str(pki / "app.crt"), "--key-file", str(pki / "app.key")]
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **house.SANITIZER}
        self.keys = self.write("ring.json", ring_text())
        self.said = ""

    def write(self, name, text, mode=0o600):
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def lines(self, name, records):
        return self.write(name, "".join(json.dumps(record) + "\n" for record in records))

    def popen(self, *arguments, **options):
        return subprocess.Popen(self.start + [str(one) for one in arguments], env=self.environment, cwd=self.folder,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)

    def run(self, *arguments):
        """Exit code, standard output, standard error."""
        process = self.popen(*arguments)
        out, error = process.communicate(timeout=500)
        self.said += out + error
        return process.returncode, out, error

    def report(self, *arguments, expect=0):
        """The report of a run with --json."""
        code, out, error = self.run(*arguments, "--json")
        assert code == expect, (code, out, error)
        return json.loads(out)

    def kill_in_between(self, *arguments, after):
        """kill -9 once after(); True when it was still at work."""
        process = self.popen(*arguments)
        try:
            after(process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        return process.returncode == -signal.SIGKILL


def state_position(path):
    """How many records the state file says are done."""
    path = pathlib.Path(path)
    return json.loads(path.read_text())["position"] if path.exists() else 0
