#!/usr/bin/env python3
"""A PostgreSQL server for tests, of an unprivileged user, in a folder of its own, on a free port: over its UNIX socket
without a password, over TCP with one, with and without TLS. Standard library only.

  postgresql.py start FILE    starts one and writes to FILE where it is (ctest's fixture)
  postgresql.py stop FILE     ends it

FILE is JSON: {"folder", "port", "pid", "ca"}, or {"missing": why} when PostgreSQL is not installed."""
import contextlib
import glob
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

UNPRIVILEGED = 65534  # PostgreSQL refuses to run as root
PASSWORD = "p:a\\ss'word"  # of the user "strongroom"; what libpq's files and strings must escape
PATIENCE_SECONDS = 60


def programs():
    """The newest server's folder of programs; None when there is none."""
    found = [path for path in glob.glob("/usr/lib/postgresql/*/bin") if os.path.exists(path + "/initdb")]
    return max(found, key=lambda path: int(path.split("/")[4]), default=None)


def as_user():
    return {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []} if os.geteuid() == 0 else {}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One server. `settings` go to it as they are; it does not sync its files unless told to."""

    def __init__(self, **settings):
        self.bin = programs()
        if self.bin is None:
            raise FileNotFoundError("the package postgresql is not installed")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="strongroom-pg-"))
        self.port = free_port()
        self.ca = self.folder / "server.crt"
        self.log = self.folder / "log"
        self.settings = {"fsync": "off", "max_connections": "150", "deadlock_timeout": "50ms", **settings}
        self.process = None
        if os.geteuid() == 0:
            os.chown(self.folder, UNPRIVILEGED, UNPRIVILEGED)
        # Words sort as people's do there: what must sort by bytes has to say so.
        self._run([self.bin + "/initdb", "-D", self.folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8",
                   "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US", "--no-sync", "--no-instructions"])
        self._run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                   "-subj", "/CN=strongroom test database", "-addext", "subjectAltName=IP:127.0.0.1",
                   "-keyout", self.folder / "server.key", "-out", self.ca])
        hba = "local all all trust\nhostssl tls all 127.0.0.1/32 scram-sha-256\nhost postgres all 127.0.0.1/32 scram-sha-256\n"
        (self.folder / "data" / "pg_hba.conf").write_text(hba)
        self.start()
        quoted = PASSWORD.replace("'", "''")
        self.sql(f"CREATE ROLE strongroom LOGIN PASSWORD '{quoted}'", "GRANT CREATE ON DATABASE postgres TO strongroom",
                 "CREATE DATABASE tls OWNER strongroom")

    def _run(self, command):
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, env={"PATH": os.environ["PATH"], "HOME": "/"},
                              **as_user())
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]}: {done.stdout} {done.stderr}")

    def start(self):
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder, "ssl": "on",
                    "ssl_cert_file": self.ca, "ssl_key_file": self.folder / "server.key", **self.settings}
        arguments = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([self.bin + "/postgres", "-D", self.folder / "data", *arguments], cwd="/",
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                            env={"PATH": os.environ["PATH"], "HOME": "/"}, **as_user())
        end = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL did not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)

    def _answers(self):
        # The file names the state in its eighth line once the server lets anybody in.
        with contextlib.suppress(OSError, IndexError):
            return (self.folder / "data" / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
        return False

    def sql(self, *statements, database="postgres"):
        """Runs each in a transaction of its own; what the last one gives, a line a row, '|' between columns."""
        command = [self.bin + "/psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-p", str(self.port),
                   "-U", "postgres", "-d", database]
        for statement in statements:
            command += ["-c", statement]
        done = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"], "HOME": "/"}, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def config(self, **more):
        """The "store" of a daemon's configuration."""
        return {"postgresql": {"host": str(self.folder), "port": self.port, "database": "postgres", "user": "postgres", **more}}

    def signal_all(self, number):
        """To the server and all of its children."""
        os.killpg(self.process.pid, number)
        for child in subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True,
                                    check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), number)

    def restart(self, how=signal.SIGQUIT):
        """SIGQUIT: immediate, as after a crash; SIGINT: fast; SIGTERM: smart."""
        self.process.send_signal(how)
        self.process.wait(PATIENCE_SECONDS)
        self.start()

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(PATIENCE_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)


def start(file):
    stop(file)
    if programs() is None:
        found = {"missing": "the package postgresql is not installed"}
    else:
        server = Server()
        found = {"folder": str(server.folder), "port": server.port, "pid": server.process.pid, "ca": str(server.ca)}
    file.write_text(json.dumps(found) + "\n")


def stop(file):
    if not file.exists():
        return
    found = json.loads(file.read_text())
    file.unlink()
    if "pid" not in found or not os.path.exists(found["folder"]):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(found["pid"], signal.SIGQUIT)
    end = time.monotonic() + PATIENCE_SECONDS
    while (pathlib.Path(found["folder"]) / "data" / "postmaster.pid").exists() and time.monotonic() < end:
        time.sleep(0.01)
    shutil.rmtree(found["folder"], ignore_errors=True)


if __name__ == "__main__":
    {"start": start, "stop": stop}[sys.argv[1]](pathlib.Path(sys.argv[2]))
