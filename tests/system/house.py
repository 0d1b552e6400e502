"""A whole Strongroom for one test: token, certificates, both daemons as processes of an unprivileged
user, in a folder of its own on ports of its own. Standard library only; it sees what a user sees."""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ("kmsd", "vaultd", "kmsctl", "vaultctl", "strongroom-key-readback", "strongroom-token-init",
            "strongroom-token-worker")
UNPRIVILEGED = 65534  # "nobody": the daemons refuse to run as root
PATIENCE_SECONDS = 60  # bound of every wait; sanitizer builds on a busy machine are slow
MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")

# LeakSanitizer traces its own process at exit, which a process that is not dumpable forbids.
SANITIZER = {"ASAN_OPTIONS": "detect_leaks=0"}


def wait_until(condition, what, seconds=PATIENCE_SECONDS):
    """What condition() gives once it is true; fails naming `what` after the bound."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.01)


class Answer:
    """One HTTP answer."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Client:
    """Speaks HTTPS with a client certificate over one connection that is kept."""

    def __init__(self, port, pki, name):
        context = ssl.create_default_context(cafile=pki / "ca.crt")
        if name:
            context.load_cert_chain(pki / f"{name}.crt", pki / f"{name}.key")
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=PATIENCE_SECONDS)

    def call(self, method, path, body=None, more_headers=None):
        data = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        headers.update(more_headers or {})
        try:
            self._connection.request(method, path, data, headers)
            response = self._connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise

    def close(self):
        self._connection.close()


class Daemon:
    """One daemon process; its log goes to a file."""

    def __init__(self, house, name, arguments=(), environment=None, config=None):
        self.name = name
        self.log = house.folder / f"{name}.{len(house.daemons)}.log"
        environment = {"PATH": os.environ["PATH"], **SANITIZER, **(environment or {})}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [house.bin / name, "--config", config or house.folder / name / f"{name}.json", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/", **house.as_daemon)
        house.daemons.append(self)

    @property
    def pid(self):
        return self.process.pid

    def lines(self):
        """The log's lines that are JSON."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found

    def wait_ready(self):
        """The port, once the daemon says that it is ready."""

        def ready():
            for line in self.lines():
                if line.get("message") == "ready":
                    return line["port"]
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}: {self.log.read_text()}")
            return None

        self.port = wait_until(ready, f"{self.name} ready")
        return self.port

    def wait_exit(self):
        return self.process.wait(PATIENCE_SECONDS)

    def stop(self):
        """SIGTERM; returns the exit code and the seconds it took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.wait_exit(), time.monotonic() - begin

    def kill(self):
        self.process.kill()
        self.process.wait()


def workers_of(daemon):
    """Process ids of kmsd's token workers, the oldest first."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            before, _, after = stat.read_text().rpartition(")")
            state, parent = after.split()[:2]
            if "(strongroom-toke" in before and state != "Z" and int(parent) == daemon.pid:
                found.append(int(stat.parent.name))
    return sorted(found)


def both_workers(daemon):
    """The one that serves and the one that stands by, once the log says so of both; else None."""
    said = {line.get("pid") for line in daemon.lines() if str(line.get("message")).startswith("a token worker s")}
    found = workers_of(daemon)
    return found if len(found) == 2 and set(found) <= said else None


def mapped_files(pid):
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
        return {line.split(maxsplit=5)[5].rstrip("\n") for line in maps if len(line.split(maxsplit=5)) == 6}


class House:
    """Use it in a `with`: what it started is stopped and its folder removed at the end."""

    programs = None  # the build's folder of programs; main() sets it

    def __init__(self, more_programs=()):
        self._temporary = tempfile.TemporaryDirectory(prefix="strongroom-")
        self.folder = pathlib.Path(self._temporary.name)
        self.folder.chmod(0o755)
        self.pki = self.folder / "pki"
        self.daemons = []
        self.as_daemon = {}
        self.bin = House.programs
        if os.geteuid() == 0:
            self.as_daemon = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}
            self._copy_programs(PROGRAMS + tuple(more_programs))  # the build may lie where that user can't look
        subprocess.run([SOURCE / "deploy" / "local-authority", self.pki], check=True)
        self.pki.chmod(0o755)
        for name in ("kmsd", "vaultd"):
            self._private_folder(self.folder / name)
            self._give(self.pki / f"{name}.key")
        self._make_token()
        self.configure("kmsd")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.kill()
        if sys.exc_info()[0] is not None:
            for daemon in self.daemons:
                print(f"--- {daemon.log.name}\n{daemon.log.read_text(errors='replace')[-4000:]}", file=sys.stderr)
        self._temporary.cleanup()

    def _copy_programs(self, names):
        target = self.folder / "bin"
        target.mkdir(mode=0o755)
        for name in names:
            try:
                os.link(self.bin / name, target / name)
            except OSError:
                shutil.copy2(self.bin / name, target / name)
        self.bin = target

    def _give(self, path):
        if self.as_daemon:
            os.chown(path, UNPRIVILEGED, UNPRIVILEGED)

    def _private_folder(self, path):
        path.mkdir(mode=0o700)
        self._give(path)

    def write(self, path, text, mode=0o600):
        """A file that belongs to the daemons' user."""
        path.write_text(text)
        path.chmod(mode)
        self._give(path)

    def _make_token(self):
        folder = self.folder / "kmsd"
        self.module = next(module for module in MODULES if os.path.exists(module))
        self.pins = {"user": os.urandom(12).hex(), "so": os.urandom(12).hex()}
        for name, pin in self.pins.items():
            self.write(folder / f"{name}.pin", pin + "\n")
        self._private_folder(folder / "tokens")
        self.write(folder / "softhsm2.conf",
                    f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.token_uri = subprocess.run(
            [self.bin / "strongroom-token-init", "--module", self.module, "--softhsm-config", folder / "softhsm2.conf",
             "--label", "strongroom", "--so-pin-file", folder / "so.pin", "--pin-file", folder / "user.pin"],
            check=True, capture_output=True, text=True, env={"PATH": os.environ["PATH"], **SANITIZER},
            **self.as_daemon).stdout.strip()

    def configure(self, name, changes=None, kms_port=0):
        """Writes the daemon's configuration and policy; `changes` replaces top-level entries."""
        config = {
            "listen": {"address": "127.0.0.1", "port": 0},
            "tls": {"certificate": f"../pki/{name}.crt", "key": f"../pki/{name}.key", "client_ca": "../pki/ca.crt"},
            "audit": {"directory": "audit"},
            "policy": {"file": "policy.json"},
            "log": {"level": "info"},
        }
        if name == "kmsd":
            config["store"] = {"sqlite": "kms.db"}
            config["workers"] = {"count": 4}  # as deploy/quickstart does for SoftHSM
            config["token"] = {"module": self.module, "uri": self.token_uri, "pin": {"file": "user.pin"},
                               "softhsm_config": "softhsm2.conf", "deadline_ms": 1000 * PATIENCE_SECONDS // 3}
        else:
            config["store"] = {"sqlite": "vault.db"}
            config["kms"] = {"url": f"https://127.0.0.1:{kms_port}", "ca": "../pki/ca.crt",
                             "certificate": "../pki/vaultd.crt", "key": "../pki/vaultd.key",
                             "master_key": "alias/credentials"}
        config.update(changes or {})
        self.write(self.folder / name / f"{name}.json", json.dumps(config))
        policy = SOURCE / "policies" / ("kms.json" if name == "kmsd" else "local-vault.json")
        self.write(self.folder / name / "policy.json", policy.read_text())

    def start(self, name, **options):
        daemon = Daemon(self, name, **options)
        daemon.wait_ready()
        return daemon

    def start_both(self, vault=None):
        """kmsd with the master keys of the vault and of applications, and vaultd on it; `vault` replaces top-level entries of
        its configuration."""
        kms = self.start("kmsd")
        with contextlib.closing(self.client(kms, "operator")) as operator:
            for alias in ("credentials", "applications"):
                if operator.call("GET", f"/v1/keys/alias/{alias}").status == 404:
                    answer = operator.call("POST", "/v1/keys", {"alias": alias})
                    assert answer.status == 201, answer
        self.configure("vaultd", vault, kms.port)
        return kms, self.start("vaultd")

    def client(self, daemon, name):
        return Client(daemon.port, self.pki, name)


def credential_path(owner, name, tail=""):
    quoted = urllib.parse.quote(name, safe="")
    return f"/v1/owners/{owner}/credentials/{quoted}{tail}"


def main():
    """What each test file ends with: takes the folder of the programs from the command line."""
    if len(sys.argv) < 2 or not (pathlib.Path(sys.argv[1]) / "kmsd").exists():
        sys.exit("usage: TEST.py FOLDER_OF_PROGRAMS [unittest arguments]")
    House.programs = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(module="__main__", verbosity=2)
