#!/usr/bin/env python3
"""The log's files are read by the Go project's own transparency log packages (main.go): each checkpoint is a good
signed note and a prefix of the last, each record is in the tree; and what was changed is not.
usage: tlog_test.py FOLDER_OF_PROGRAMS; exit code 77 (skipped) where Go or its packages are not installed. CI has them
(deploy/install-packages ci): GCC's Go, 43 MB to fetch, half of golang-go; either will do, and nothing is fetched by the test."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
PACKAGES = pathlib.Path("/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog")
RECORDS = 1000


def main():
    programs, source = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(__file__).with_name("main.go")
    if shutil.which("go") is None or not PACKAGES.exists():
        print("skipped: gccgo-go (or golang-go) and golang-golang-x-mod-dev are not installed")
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="strongroom-") as folder:
        folder = pathlib.Path(folder)
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GOPATH": "/usr/share/gocode", "GO111MODULE": "off",
                       "GOFLAGS": "", "GOCACHE": str(folder / "cache"), "GOPROXY": "off"}
        reader = folder / "reader"
        subprocess.run(["go", "build", "-o", reader, source], check=True, env=environment)
        log = folder / "log"
        subprocess.run([programs / "audit_cases", "make", log, str(RECORDS), "ed25519"], check=True)
        verdict = json.loads(subprocess.run([programs / "kmsctl", "audit", "verify", log, "--key", f"{log}.pem", "--json"],
                                            check=True, capture_output=True, text=True).stdout)

        def read():
            return subprocess.run([reader, log, verdict["verifier_key"]], capture_output=True, text=True, check=False)

        done = read()
        print(done.stdout + done.stderr, end="")
        assert done.returncode == 0 and f"{verdict['checkpoints']} checkpoints" in done.stdout, "a good log"
        assert f"{verdict['covered']} records" in done.stdout, "all of it"
        for name, old, new in (("audit.jsonl", b"/app", b"/foe"), ("checkpoints", b"\n485\n", b"\n486\n")):
            good = (log / name).read_bytes()
            assert old in good, name
            (log / name).write_bytes(good.replace(old, new, 1))
            assert read().returncode == 1, f"{name} was changed"
            (log / name).write_bytes(good)
    return 0


if __name__ == "__main__":
    sys.exit(main())
