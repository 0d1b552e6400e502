"""A whole Strongroom for one test: token, certificates, both daemons as processes of an unprivileged
user, in a folder of its own on ports of its own. Standard library only; it sees what a user sees.

Tests have a short form, which every run takes, and some a long one: those with @long_form or @both_forms run when the
environment has LONG=1, and nothing else does then. A test that is named on the command line always runs."""
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

# LeakSanitizer traces its own process at exit, which a process that is not dumpable forbids. All other options of the
# sanitizers are in the programs (tests/sanitizer/options.cpp).
SANITIZER = {"ASAN_OPTIONS": "detect_leaks=0"}


IS_LONG = os.environ.get("LONG") == "1"


def long_form(test):
    """A test, or all of a class, for the long form only."""
    test.forms = (True,)
    return test


def both_forms(test):
    """The same for a test that the long form runs too, with another number()."""
    test.forms = (False, True)
    return test


def number(name, short, long):
    """How often, how many: as environment variable `name` says, else by the form."""
    return int(os.environ.get(name, long if IS_LONG else short))


class FormLoader(unittest.TestLoader):
    """Takes the tests of the form that is asked for."""

    def getTestCaseNames(self, case):
        def forms(name):
            return getattr(getattr(case, name), "forms", getattr(case, "forms", (False,)))

        return [name for name in super().getTestCaseNames(case) if IS_LONG in forms(name)]


def wait_until(condition, what, seconds=PATIENCE_SECONDS, every=0.01):
    """What condition() gives once it is true; fails naming `what` after the bound. `every`: seconds between two looks."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(every)


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

    def local_port(self):
        """Of the connection that is kept."""
        return self._connection.sock.getsockname()[1]

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


def workers_of(daemon, program="strongroom-token-worker"):
    """Process ids of kmsd's token workers of that name, the oldest first."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):  # a glob would look at each, and fail at one that ends meanwhile
        with contextlib.suppress(OSError):
            before, _, after = pathlib.Path("/proc", pid, "stat").read_text().rpartition(")")
            state, parent = after.split()[:2]
            if before.endswith("(" + program[:15]) and state != "Z" and int(parent) == daemon.pid:
                found.append(int(pid))
    return sorted(found)


def both_workers(daemon, program="strongroom-token-worker"):
    """Of that name, the one that serves and the one that stands by, once the log says so of both; else None."""
    said = {line.get("pid") for line in daemon.lines() if str(line.get("message")).startswith("a token worker s")}
    found = workers_of(daemon, program)
    return found if len(found) == 2 and set(found) <= said else None


def mapped_files(pid):
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
        return {line.split(maxsplit=5)[5].rstrip("\n") for line in maps if len(line.split(maxsplit=5)) == 6}


def as_daemon():
    """How subprocess starts what runs as the daemons do."""
    return {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []} if os.geteuid() == 0 else {}


def give(path):
    """The file, or the folder with all that is in it, belongs to the daemons' user."""
    if os.geteuid() == 0:
        for each in [path, *path.rglob("*")]:
            os.chown(each, UNPRIVILEGED, UNPRIVILEGED)


def link_programs(source, target, names):
    """The folder `target` with those programs of `source`."""
    target.mkdir(mode=0o755)
    for name in names:
        try:
            os.link(source / name, target / name)
        except OSError:
            shutil.copy2(source / name, target / name)
    return target


class Prepared:
    """What takes time to make: the programs where the daemons' user can look, certificates, a token in which there is
    nothing yet. Made once for all houses of this process; each has certificates and a token of its own, copies of these."""

    def __init__(self, programs):
        self._temporary = tempfile.TemporaryDirectory(prefix="strongroom-prepared-")
        self.folder = pathlib.Path(self._temporary.name)
        self.folder.chmod(0o755)
        self.bin = programs
        if os.geteuid() == 0:  # the build may lie where that user can't look
            self.bin = link_programs(programs, self.folder / "bin", PROGRAMS)
        self.pki = self.folder / "pki"
        subprocess.run([SOURCE / "deploy" / "local-authority", self.pki], check=True)
        self.pki.chmod(0o755)
        for name in ("kmsd", "vaultd"):
            give(self.pki / f"{name}.key")
        self._make_token()

    def _make_token(self):
        self.module = next(module for module in MODULES if os.path.exists(module))
        self.token = self.folder / "token"
        self.token.mkdir(mode=0o700)
        (self.token / "tokens").mkdir(mode=0o700)
        self.pins = {"user": os.urandom(12).hex(), "so": os.urandom(12).hex()}
        for name, pin in self.pins.items():
            (self.token / f"{name}.pin").write_text(pin + "\n")
            (self.token / f"{name}.pin").chmod(0o600)
        (self.token / "softhsm2.conf").write_text(softhsm_config(self.token / "tokens"))
        give(self.token)
        self.token_uri = subprocess.run(
            [self.bin / "strongroom-token-init", "--module", self.module, "--softhsm-config", self.token / "softhsm2.conf",
             "--label", "strongroom", "--so-pin-file", self.token / "so.pin", "--pin-file", self.token / "user.pin"],
            check=True, capture_output=True, text=True, env={"PATH": os.environ["PATH"], **SANITIZER},
            **as_daemon()).stdout.strip()


def softhsm_config(tokens):
    return f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"


class House:
    """Use it in a `with`: what it started is stopped and its folder removed at the end."""

    programs = None  # the build's folder of programs; main() sets it
    all_open = []
    _prepared = None

    def __init__(self, more_programs=()):
        House._prepared = prepared = House._prepared or Prepared(House.programs)
        self._temporary = tempfile.TemporaryDirectory(prefix="strongroom-")
        self.folder = pathlib.Path(self._temporary.name)
        self.folder.chmod(0o755)
        self.daemons = []
        self.as_daemon = as_daemon()
        self.bin, self.module, self.token_uri, self.pins = prepared.bin, prepared.module, prepared.token_uri, prepared.pins
        if os.geteuid() == 0:
            self.bin = link_programs(prepared.bin, self.folder / "bin", PROGRAMS)
            for name in more_programs:
                shutil.copy2(House.programs / name, self.bin / name)
        self.pki = self.folder / "pki"
        shutil.copytree(prepared.pki, self.pki)
        shutil.copytree(prepared.token, self.folder / "kmsd")
        (self.folder / "vaultd").mkdir(mode=0o700)
        for path in (self.pki / "kmsd.key", self.pki / "vaultd.key", self.folder / "kmsd", self.folder / "vaultd"):
            give(path)
        self.write(self.folder / "kmsd" / "softhsm2.conf", softhsm_config(self.folder / "kmsd" / "tokens"))
        self.configure("kmsd")

    def __enter__(self):
        House.all_open.append(self)
        return self

    def __exit__(self, *_):
        House.all_open.remove(self)
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.kill()
        if sys.exc_info()[0] is not None:
            self.show_logs()
        self._temporary.cleanup()

    def show_logs(self):
        for daemon in self.daemons:
            print(f"--- {daemon.log.name}\n{daemon.log.read_text(errors='replace')[-4000:]}", file=sys.stderr)

    def write(self, path, text, mode=0o600):
        """A file that belongs to the daemons' user."""
        path.write_text(text)
        path.chmod(mode)
        give(path)

    def configure(self, name, changes=None, kms_port=0):
        """Writes the daemon's configuration and policy; `changes` replaces top-level entries, those that are None go."""
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
        config = {field: value for field, value in config.items() if value is not None}
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


class Result(unittest.TextTestResult):
    """Shows what the daemons said when a test failed that still has its house."""

    def addError(self, test, error):
        super().addError(test, error)
        self._show_logs()

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._show_logs()

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self._show_logs()

    @staticmethod
    def _show_logs():
        for strongroom in House.all_open:
            strongroom.show_logs()


def main():
    """What each test file ends with: takes the folder of the programs from the command line."""
    if len(sys.argv) < 2 or not (pathlib.Path(sys.argv[1]) / "kmsd").exists():
        sys.exit("usage: TEST.py FOLDER_OF_PROGRAMS [unittest arguments]")
    House.programs = pathlib.Path(sys.argv.pop(1)).resolve()
    runner = unittest.TextTestRunner(verbosity=2, resultclass=Result)
    unittest.main(module="__main__", testRunner=runner, testLoader=FormLoader())
