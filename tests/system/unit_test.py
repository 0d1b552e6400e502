#!/usr/bin/env python3
"""kmsd and its token workers under the restrictions of deploy/systemd/kmsd.service: the file system read-only but for
the state, no capability, the unit's system calls only, no memory that is both written and executed, no other
address families. Where systemd does not run the machine, the test applies the same to the process itself."""
import contextlib
import ctypes
import errno
import functools
import os
import re
import shutil
import socket
import subprocess
import unittest

import house

UNIT = house.SOURCE / "deploy" / "systemd" / "kmsd.service"
# What is applied here in one way only: a unit that says otherwise would be tested as another.
AS_APPLIED = {"NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "ProtectSystem": "strict",
              "MemoryDenyWriteExecute": "yes"}
ALLOW, REFUSE = 0x7FFF0000, 0x00050000  # SCMP_ACT_ALLOW, SCMP_ACT_ERRNO(0)
PROT_WRITE_AND_EXEC = 2 | 4
EQUAL, MASKED_EQUAL = 4, 7  # SCMP_CMP_EQ, SCMP_CMP_MASKED_EQ


class Condition(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("comparison", ctypes.c_int), ("first", ctypes.c_uint64),
                ("second", ctypes.c_uint64)]


def settings():
    """(name, value) of each line of the unit's [Service]."""
    service = UNIT.read_text().split("[Service]")[1].split("[Install]")[0]
    return re.findall(r"^(\w+)=(.*)$", service, re.MULTILINE)


@functools.cache
def words_in(group):
    """The system calls and further sets in a set, as systemd knows them."""
    listed = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    inside = [line.strip() for line in listed.stdout.splitlines()[1:]]
    return [name for name in inside if name and not name.startswith("#")]


def expand(words):
    """The system calls behind words and sets."""
    calls = set()
    for word in words:
        calls |= expand(words_in(word)) if word.startswith("@") else {word}
    return calls


def allowed_calls():
    # What systemd allows in any case, so that a service can be started.
    allowed = expand(["@default"])
    for name, value in settings():
        if name == "SystemCallFilter":
            calls = expand(value.lstrip("~").split())
            allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


class Restrictions:
    """Applied between fork and exec; everything that takes time is done before."""

    def __init__(self, state):
        self.state = str(state)
        unit = dict(settings())
        self.families = [getattr(socket, family) for family in unit["RestrictAddressFamilies"].split()]
        self.umask = int(unit["UMask"], 8)
        self.refuse = REFUSE | getattr(errno, unit["SystemCallErrorNumber"])
        self.calls = sorted(allowed_calls())
        self.seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self.seccomp.seccomp_init.restype = ctypes.c_void_p
        self.libc = ctypes.CDLL("libc.so.6", use_errno=True)
        self.numbers = [self.seccomp.seccomp_syscall_resolve_name(name.encode()) for name in self.calls]
        self.socket, self.mmap, self.mprotect = (self.seccomp.seccomp_syscall_resolve_name(name)
                                                 for name in (b"socket", b"mmap", b"mprotect"))

    def check(self, result, what):
        if result != 0:
            raise OSError(ctypes.get_errno() or -result, what)

    def mount(self, source, target, flags):
        self.check(self.libc.mount(source and source.encode(), target.encode(), None, ctypes.c_ulong(flags), None), target)

    def make_read_only(self):
        bind, read_only, remount, private, recursive = 4096, 1, 32, 1 << 18, 16384
        self.check(self.libc.unshare(0x00020000), "unshare")
        self.mount(None, "/", private | recursive)
        self.mount(self.state, self.state, bind)
        self.mount(None, "/", remount | bind | read_only)
        if os.path.ismount("/tmp"):
            self.mount(None, "/tmp", remount | bind | read_only)

    def restrict_calls(self):
        def add(*rule, condition=None):
            return self.seccomp.seccomp_rule_add_array(filters, ctypes.c_uint32(ALLOW), *rule, int(condition is not None),
                                                       condition and ctypes.byref(condition))

        filters = ctypes.c_void_p(self.seccomp.seccomp_init(ctypes.c_uint32(self.refuse)))
        for number in self.numbers:
            if number != -1 and number not in (self.socket, self.mmap, self.mprotect):
                add(number)
        for family in self.families:
            self.check(add(self.socket, condition=Condition(0, EQUAL, family, 0)), "socket")
        for call in (self.mmap, self.mprotect):
            for either in (0, 2, 4):  # neither, written, executed; never both
                self.check(add(call, condition=Condition(2, MASKED_EQUAL, PROT_WRITE_AND_EXEC, either)), "mmap")
        self.check(self.seccomp.seccomp_load(filters), "seccomp_load")

    def __call__(self):
        self.make_read_only()
        for capability in range(64):
            self.libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
        self.libc.setgroups(0, None)
        os.setresgid(house.UNPRIVILEGED, house.UNPRIVILEGED, house.UNPRIVILEGED)
        os.setresuid(house.UNPRIVILEGED, house.UNPRIVILEGED, house.UNPRIVILEGED)
        os.umask(self.umask)
        self.check(self.libc.prctl(38, 1, 0, 0, 0), "no new privileges")
        self.restrict_calls()


@unittest.skipUnless(os.geteuid() == 0, "only root can make a file system read-only for one process")
@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze says what the unit's words mean")
class Unit(unittest.TestCase):
    def setUp(self):
        unit = dict(settings())
        self.assertEqual({name: unit.get(name) for name in AS_APPLIED}, AS_APPLIED)
        self.house = self.enterContext(house.House())
        self.house.as_daemon = {"preexec_fn": Restrictions(self.house.folder / "kmsd")}

    def start(self):
        return self.house.start("kmsd")

    def test_keys_are_made_and_used_and_workers_replaced(self):
        daemon = self.start()
        with contextlib.closing(self.house.client(daemon, "operator")) as operator:
            for alias, kind in (("applications", "aes_256"), ("signer", "ecdsa_p256")):
                answer = operator.call("POST", "/v1/keys", {"alias": alias, "kind": kind})
                self.assertEqual(answer.status, 201, answer)
        with contextlib.closing(self.house.client(daemon, "app")) as client:
            made = client.call("POST", "/v1/keys/alias/applications/data-keys", {}).json()["data_keys"][0]
            workers = house.wait_until(lambda: house.both_workers(daemon), "a worker that serves and one that stands by")
            os.kill(workers[0], 9)
            answer = client.call("POST", "/v1/data-keys/unwrap", {"wrapped": made["wrapped"]})
            self.assertEqual((answer.status, answer.json().get("plaintext")), (200, made["plaintext"]), answer)
            house.wait_until(lambda: house.both_workers(daemon), "another that stands by")
        for line in daemon.lines():
            self.assertNotIn(line["level"], ("error",), line)
        self.assertEqual(daemon.stop()[0], 0)

    def test_the_restrictions_hold_in_the_worker(self):
        daemon = self.start()
        for pid in [daemon.pid, *house.wait_until(lambda: house.both_workers(daemon), "both workers")]:
            with open(f"/proc/{pid}/status", encoding="ascii") as text:
                status = dict(line.rstrip("\n").split(":\t", 1) for line in text if ":\t" in line)
            self.assertEqual((status["Seccomp"], status["NoNewPrivs"], status["CapBnd"]), ("2", "1", "0" * 16))
        # One filter of the unit, and one more of the worker's own.
        self.assertGreater(int(status["Seccomp_filters"]), 1)


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not there")
class UnitFile(unittest.TestCase):
    def test_systemd_finds_it_safe(self):
        judged = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", UNIT],
                                capture_output=True, text=True, check=False)
        self.assertEqual(judged.returncode, 0, judged.stdout + judged.stderr)


if __name__ == "__main__":
    house.main()
