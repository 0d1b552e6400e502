#!/usr/bin/env python3
"""Tortures kmsd and its token: usage in `run`, what each campaign does in its own words below."""
import argparse
import contextlib
import ctypes
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "system"), str(HERE.parent / "support" / "faulty_pkcs11")]
import house as houses  # noqa: E402
from faulty_pkcs11 import FaultControl  # noqa: E402
from load import Books, Caller, Load, Replays, check_books  # noqa: E402

EVERYTHING = {"version": 1,
              "roles": {"all": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["*"]}]},
              "bindings": [{"caller": f"spiffe://strongroom/{name}", "roles": ["all"]}
                           for name in ("operator", "app", "vaultd")]}
TENANTS = {"version": 1,
           "roles": {**EVERYTHING["roles"],
                     "acme": [{"id": "acme", "effect": "allow", "actions": ["create_data_key", "unwrap_data_key"],
                               "resources": ["key:*"], "when": {"context": {"tenant": ["acme"]}}}]},
           "bindings": [{"caller": "spiffe://strongroom/operator", "roles": ["all"]},
                        {"caller": "spiffe://strongroom/app", "roles": ["acme"]}]}
NOT_RUN = 77  # the exit code that ctest takes for a test that was skipped
WORKER_DEADLINE_MS = 500  # in the sweep, so that what hangs for longer is met
PATIENCE_SECONDS = houses.PATIENCE_SECONDS  # for a rule to strike, a worker to be replaced
RECOVERY_SECONDS = 2  # the promise: the first success after the token is back

USES = ("C_OpenSession", "C_GetSessionInfo", "C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal",
        "C_EncryptInit", "C_Encrypt", "C_DecryptInit", "C_Decrypt", "C_GetAttributeValue", "C_GenerateRandom",
        "C_GenerateKey")
CODES = ("CKR_DEVICE_ERROR", "CKR_SESSION_HANDLE_INVALID", "CKR_USER_NOT_LOGGED_IN", "CKR_KEY_HANDLE_INVALID",
         "CKR_GENERAL_ERROR", "CKR_SESSION_COUNT", "CKR_OPERATION_ACTIVE", "CKR_ARGUMENTS_BAD",
         "CKR_TOKEN_WRITE_PROTECTED", "CKR_CRYPTOKI_NOT_INITIALIZED")
# What each request of a load without new keys calls, in a worker: at `deadline_ms` that is replaced. What opens a token, makes
# a key or reads it back has longer deadlines of its own.
QUICK = ("C_EncryptInit", "C_Encrypt", "C_DecryptInit", "C_Decrypt", "C_GenerateRandom")
DEEDS = ("do=logout", "do=close_sessions", "do=invalidate_handles", "delay=30", "hang")


CAMPAIGNS = ("tampered", "sweep", "away", "disk", "matrix", "kills", "power", "writes", "memory", "stops", "tokens")


class Progress:
    """One line that says how far a campaign is."""

    def __init__(self, name, total):
        self.name, self.total, self.begin, self.shown = name, total, time.monotonic(), 0

    def at(self, done, what=""):
        now = time.monotonic()
        if now - self.shown < 0.5 and done != self.total:
            return
        self.shown = now
        left = (now - self.begin) / done * (self.total - done) if done else 0
        line = f"{self.name}: {done}/{self.total}, {left / 60:.0f} min left {what}"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{line[:118]}" + ("\n" if done == self.total else ""))
        elif done == self.total:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()


class Stage:
    """A house whose token is behind the fault module."""

    def __init__(self, stack, programs, policy=None, **token_changes):
        self.house = stack.enter_context(houses.House())
        self.faults = FaultControl.beside(self.house.folder, programs / "faulty_pkcs11.so", self.house.module)
        config = json.loads((self.house.folder / "kmsd" / "kmsd.json").read_text())
        token = {**config["token"], "module": str(self.faults.library), **token_changes}
        self.house.configure("kmsd", {"token": token})
        self.house.write(self.house.folder / "kmsd" / "policy.json", json.dumps(policy or EVERYTHING))
        self.books = Books()
        self.start()
        with contextlib.closing(self.house.client(self.daemon, "operator")) as client:
            answer = client.call("POST", "/v1/keys", {"alias": "applications"})
            assert answer.status == 201, answer
            self.books.keep_key(answer.json()["id"])

    def start(self):
        """A start is refused when the disk takes longer than the audit log waits: then it is tried again."""
        for attempt in range(5):
            try:
                self.daemon = self.house.start("kmsd")
                return
            except AssertionError as error:
                if attempt == 4 or "audit log can't be written" not in str(error):
                    raise

    def caller(self, seed):
        return contextlib.closing(Caller(self.house, self.daemon, self.books, seed))


CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000


def mount_small_disk(folder, size):
    """A file system of that size over `folder`, with what is in it, that only this process and its children see;
    False where nobody may mount."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNS) != 0:
        return False
    if libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        return False
    owner, aside = folder.stat(), folder.with_name(folder.name + ".aside")
    subprocess.run(["cp", "-a", folder, aside], check=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()) != 0:
        return False
    subprocess.run(["cp", "-a", f"{aside}/.", folder], check=True)
    os.chown(folder, owner.st_uid, owner.st_gid)
    folder.chmod(0o700)
    return True


class Torture:
    def __init__(self, options):
        self.options = options
        self.programs = options.programs.resolve()
        self.rows = []    # (campaign, what was done, what came of it, "yes", "**no**" or "not run")
        self.broken = []

    def times(self, long, short):
        if self.options.short:
            return short * (10 if houses.IS_LONG else 1)
        return max(1, int(long * self.options.scale))

    def report(self, name, done, came, books=None, more_broken=()):
        broken = list(books.broken if books else []) + list(more_broken)
        self.rows.append((name, done, came, "**no**" if broken else "yes"))
        self.broken += [f"{name}: {each}" for each in broken]

    def tampered(self):
        """Wrapped data keys with something wrong: each is refused, of whatever kind, with one status in one wording, alone and
        in a batch; nothing is initialised anew, and nobody logs in again."""
        blobs = self.times(1_000_000, 200)
        with contextlib.ExitStack() as stack:
            stage = Stage(stack, self.programs, policy=TENANTS)
            acme, operator = (stack.enter_context(contextlib.closing(stage.house.client(stage.daemon, name)))
                              for name in ("app", "operator"))
            replays = Replays(acme, operator)
            houses.wait_until(lambda: houses.both_workers(stage.daemon), "the worker that stands by has logged in, too")
            before = {name: stage.faults.calls(name) for name in ("C_Initialize", "C_Finalize", "C_Login")}
            answers, progress, waited = {}, Progress("tampered", blobs), 0
            for number in range(blobs):
                kind, body = replays.draw(number)
                for _ in range(10):
                    answer = acme.call("POST", "/v1/data-keys/unwrap", body)
                    # A disk that takes its time holds back the record: that says nothing of the blob.
                    if answer.status != 503 or b"audit log can't be written" not in answer.body:
                        break
                    waited += 1
                if answer.status not in (400, 422):
                    stage.books.break_promise(f"{kind}, {number}: {answer}")
                said = (answer.status, re.sub(rb'"request_id": *"[^"]*"', b"", answer.body))
                answers.setdefault(said, set()).add(kind)
                progress.at(number + 1)
            kinds = set().union(*answers.values())
            if len(kinds) != 8 or len(answers) != 1:
                stage.books.break_promise(f"{len(kinds)} kinds have {len(answers)} different answers: {answers}")
            if not replays.opens():
                stage.books.break_promise("what nobody tampered with does not open")
            self.tampered_in_a_batch(stage, replays)
            after = {name: stage.faults.calls(name) for name in before}
            if after != before:
                stage.books.break_promise(f"calls went from {before} to {after}")
            check_books(stage.house, stage.daemon, stage.books)
            self.report("tampered", f"{blobs} data keys with something wrong, of {len(kinds)} kinds",
                        f"{waited} asked again since the log's disk was slow, {len(answers)} different answers, {after['C_Initialize'] - before['C_Initialize']} initialisations, "
                        f"{after['C_Login'] - before['C_Login']} logins", stage.books)

    @staticmethod
    def tampered_in_a_batch(stage, replays):
        """One of each kind, and between them what opens."""
        items = [replays.draw(number)[1] for number in range(8)]
        items.insert(4, {"wrapped": replays.own["wrapped"], "context": replays.context})
        answer = replays.caller.call("POST", "/v1/data-keys/unwrap", {"items": items})
        results = answer.json()["results"] if answer.status == 200 else []
        good = [number for number, each in enumerate(results) if each.get("plaintext") == replays.own["plaintext"]]
        wordings = {json.dumps(each) for number, each in enumerate(results) if number != 4}
        if good != [4] or len(results) != 9 or len(wordings) != 1:
            stage.books.break_promise(f"in a batch: {answer}")

    def away(self):
        """The token goes away under load and comes back: the first success within two seconds, no restart."""
        rounds = self.times(500, 2)
        slowest = 0.0
        with contextlib.ExitStack() as stack:
            stage = Stage(stack, self.programs)
            load = stack.enter_context(Load(stage.house, stage.daemon, stage.books, self.options.seed,
                                            callers=1 if self.options.short else 3, keys=0))
            probe = stack.enter_context(stage.caller("probe"))
            progress = Progress("away", rounds)
            for number in range(rounds):
                logins = stage.faults.calls("C_Login")
                stage.faults.set("behave away")
                time.sleep(1.5)
                if stage.faults.calls("C_Login") > logins + 2:
                    stage.books.break_promise("logins were tried while no token was there")
                stage.faults.clear()
                took = probe.first_success(30)
                if took is None or took > RECOVERY_SECONDS:
                    stage.books.break_promise(f"round {number}: back after {took} s")
                slowest = max(slowest, took or 30)
                progress.at(number + 1, f"slowest {slowest:.2f} s")
            load.stopping = True
            check_books(stage.house, stage.daemon, stage.books, sample=500)
            counts = stage.books.counts
            self.report("away", f"token away for 1.5 s, {rounds} times, {len(load.callers)} callers",
                        f"slowest first success {slowest:.2f} s; {counts['answered']} answered, {counts['refused']} "
                        "refused", stage.books)

    def cells(self):
        for function in USES:
            for deed in DEEDS:
                yield function, f"{function} nth=2 {deed}", ()
            for code in CODES:
                # What the module itself calls bad data, or answers against the standard, is believed.
                lies = (422,) if function.startswith("C_Decrypt") and code == "CKR_GENERAL_ERROR" else ()
                lies += (500,) if code == "CKR_ARGUMENTS_BAD" else ()
                for when in ("before", "after"):
                    yield function, f"{function} {when} probability=0.3 seed={self.options.seed} code={code}", lies
        for rule in ("C_DecryptInit nth=20 do=logout", "C_DecryptInit nth=20 do=close_sessions",
                     "C_Encrypt probability=0.01 flip=random", "C_GenerateRandom nth=2 fill=0",
                     "C_DecryptInit nth=2 code=CKR_DEVICE_REMOVED\nC_Login nth=1 after do=permute_finds",
                     "C_DecryptInit nth=2 do=permute_handles", "* probability=0.01 code=CKR_DEVICE_ERROR",
                     "behave max_sessions=3"):
            yield "several", rule, (500,) if "fill=0" in rule else ()

    def sweep(self):
        """Each rule on each function while a load runs: it strikes, there is no wrong answer, nothing acknowledged is lost, and
        when the rule is gone all is well within two seconds. Of a call that hangs the worker is replaced."""
        cells = list(self.cells())
        if self.options.short:
            hanging = [cell for cell in cells if self.outlasts_the_deadline(cell[1])][1:4 if houses.IS_LONG else 2]
            cells = cells[::10 if houses.IS_LONG else 97] + hanging + cells[-8:]
        elif self.options.scale < 1:
            cells = cells[::max(1, int(1 / self.options.scale))]
        seconds = 0.25 if self.options.short else 1.5
        self.slowest, replaced = 0.0, 0
        with contextlib.ExitStack() as stack:
            stage = Stage(stack, self.programs, deadline_ms=WORKER_DEADLINE_MS)
            load = stack.enter_context(Load(stage.house, stage.daemon, stage.books, self.options.seed))
            probe = stack.enter_context(stage.caller("probe"))
            progress = Progress("sweep", len(cells))
            for number, (function, rule, lies) in enumerate(cells):
                load.tolerate(*lies)
                probe.tolerated = lies
                if self.outlasts_the_deadline(rule):
                    with load.without_keys():
                        replaced += self.one_that_hangs(stage, rule, probe)
                else:
                    self.one_cell(stage, rule, seconds)
                self.heal(stage, rule, probe)
                progress.at(number + 1, function)
            load.stopping = True
            check_books(stage.house, stage.daemon, stage.books, patience=RECOVERY_SECONDS)
            if stage.daemon.process.poll() is not None:
                stage.books.break_promise("kmsd ended")
            counts = stage.books.counts
            self.report("sweep", f"{len(cells)} rules, which struck, {len(load.callers)} callers",
                        f"{counts['answered']} answered, {counts['refused']} refused; {replaced} workers replaced "
                        f"at the deadline of what hung; {len(stage.books.keys)} keys and {len(stage.books.wrapped)} data "
                        f"keys acknowledged, all there; slowest recovery {self.slowest:.2f} s", stage.books)

    @staticmethod
    def outlasts_the_deadline(rule):
        return rule.endswith(" hang") and rule.split()[0] in QUICK

    def one_cell(self, stage, rule, seconds):
        """One rule for a time, and until it struck."""
        rules = rule.split("\n")
        stage.faults.set(*rules)
        time.sleep(seconds)
        # What a behaviour did is not counted.
        if not rule.startswith("behave ") and not self.within_patience(
                lambda: all(stage.faults.struck(each) for each in range(len(rules)))):
            stage.books.break_promise(f"{rule!r} never struck")

    def one_that_hangs(self, stage, rule, probe):
        """Whether, while the call still hangs, its worker is replaced and all goes on. Two workers at the begin, so that what
        goes is known to go for this rule."""
        before = set(houses.wait_until(lambda: houses.both_workers(stage.daemon), "two workers"))
        self.one_cell(stage, rule, 0)
        is_replaced = self.within_patience(lambda: before - set(houses.workers_of(stage.daemon)))
        if not is_replaced:
            stage.books.break_promise(f"{rule!r}: the worker was not replaced")
        if probe.first_success(PATIENCE_SECONDS) is None:
            stage.books.break_promise(f"{rule!r}: nothing goes on beside what hangs")
        return is_replaced

    def heal(self, stage, rule, probe):
        stage.faults.clear()
        took = probe.first_success(30)
        if took is None or took > RECOVERY_SECONDS:
            stage.books.break_promise(f"{rule!r}: well again after {took} s")
        self.slowest = max(self.slowest, took or 30)

    @staticmethod
    def within_patience(condition):
        """Whether it came true."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def disk(self):
        """The token's disk is full while keys are made: refused, or made and never lost; and made again when there is
        room. The token is there after every start."""
        rounds = self.times(500, 6)
        made = refused = 0
        open_handed = []  # rounds that refused nothing, though not a block was free
        with contextlib.ExitStack() as stack:
            stage = Stage(stack, self.programs)
            stage.daemon.stop()
            tokens = stage.house.folder / "kmsd" / "tokens"
            if not mount_small_disk(tokens, 16 << 20):
                self.rows.append(("disk", "nothing: only root can mount a small file system", "nothing", "not run"))
                return
            stack.callback(ctypes.CDLL(None).umount2, os.fsencode(tokens), 2)
            stage.start()
            progress, filler = Progress("disk", rounds), tokens / "filler"
            for number in range(rounds):
                with stage.caller(number) as caller:
                    self.fill(filler, leave=number % 5)
                    before = refused
                    for _ in range(3):
                        is_made = caller.make_key()
                        made, refused = made + is_made, refused + (not is_made)
                        caller.unwrap()
                    if number % 5 == 0 and refused == before:
                        open_handed.append(number)
                    filler.unlink()
                    if caller.first_success(10) is None or not caller.make_key():
                        stage.books.break_promise(f"round {number}: no key is made when there is room again")
                progress.at(number + 1)
                if number % 3 == 2:
                    stage.daemon.kill() if number % 2 else stage.daemon.stop()
                    stage.start()
                    check_books(stage.house, stage.daemon, stage.books, sample=50)
            check_books(stage.house, stage.daemon, stage.books)
            if open_handed or not refused:
                stage.books.break_promise(f"no key was refused on a disk that is full, in rounds {open_handed}")
            self.report("disk", f"the token's disk full, {rounds} times", f"{made} keys made on what was left, {refused} "
                        f"refused, {len(stage.books.keys)} keys acknowledged, all there", stage.books)

    @staticmethod
    def fill(filler, leave):
        """Everything but `leave` blocks."""
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)) == 4096:
                pass
        os.truncate(filler, max(0, (filler.stat().st_size // 4096 - leave) * 4096))

    @staticmethod
    def how_far(output):
        """What a test last said of its progress, as "500 of 10000 kills". The child writes at the file's offset, so that
        stays where it is."""
        end = os.fstat(output.fileno()).st_size
        said = os.pread(output.fileno(), 4096, max(0, end - 4096)).decode(errors="replace")
        return (re.findall(r"^\d+ of \d+ .*$", said, re.MULTILINE) or [""])[-1]

    def subprocess_campaign(self, name, command, environment, done, proof=r"^Ran [1-9].*\nOK$"):
        """A test in a process of its own. `proof`: what it says when something was run and held: an exit code of 0 alone is
        also that of a filter which no test's name fits."""
        log = self.options.report.with_name(f"{name}.log") if self.options.report else None
        begin = time.monotonic()
        with (log.open("w+") if log else tempfile.TemporaryFile("w+")) as output:
            with subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT) as child:
                while child.poll() is None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        child.wait(1)
                    if sys.stderr.isatty():
                        far = self.how_far(output) or done
                        sys.stderr.write(f"\r\033[K{name}: {(time.monotonic() - begin) / 60:.0f} min, {far}"[:118])
                        sys.stderr.flush()
            output.seek(0)
            lines = [line.strip() for line in output if line.strip()]
        sys.stderr.write("\r\033[K" if sys.stderr.isatty() else "")
        sys.stderr.write(f"{name}: ended with {child.returncode} after {(time.monotonic() - begin) / 60:.1f} min\n")
        broken = [] if child.returncode == 0 else [f"exit code {child.returncode}; {lines[-3:]}"]
        if not broken and not re.search(proof, "\n".join(lines), re.MULTILINE):
            broken = [f"nothing was run: {lines[-3:]}"]
        self.report(name, done, self.came_of(lines), more_broken=broken)

    @staticmethod
    def came_of(lines):
        """What the test itself says of what it did, or the end of its runner's summary."""
        runners = re.compile(r"^(test_.* \.\.\.|ok$|OK$|-+$|Ran \d|SEED=|\d+ of \d+ )")
        own = [line for line in lines if not runners.match(line)]
        return (own or lines)[-1][:600]

    def script_campaign(self, name, script, done, **environment):
        """A test of tests/system in its long form."""
        self.subprocess_campaign(name, [sys.executable, "-B", "-u", HERE.parent / "system" / script, self.programs],
                                 {"LONG": "1", "SEED": str(self.options.seed)}
                                 | {key: str(value) for key, value in environment.items()}, done)

    def matrix(self):
        """The tests of the token's recovery in full: every code on every function, 10,000 reconnects with permuted
        handles, a million tampered ciphertexts."""
        environment = {"EVERY": "1", "RECONNECTS": str(self.times(10_000, 1)), "CALLS": str(self.times(100_000, 1)),
                       "TAMPERED": str(self.times(1_000_000, 1))}
        for test in ("EachCodeOnEachFunctionIsAnsweredByItsClassAndHealsByItself",
                     "AFailureToMakeAKeyIsSaidByItsClassAndOneToDestroyItHeals",
                     "PermutedFindsAfterAReconnectNeverGiveAnotherKeysAnswer",
                     "SessionsNeitherLeakNorStickWhenCallsFailNowAndThen",
                     "AFloodOfTamperedCiphertextsNeitherReconnectsNorLogsIn"):
            self.subprocess_campaign(f"matrix.{test}", [self.programs / "hsm_tests", f"--gtest_filter=*.{test}"],
                                     environment, ", ".join(f"{name}={value}" for name, value in environment.items()),
                                     proof=r"^\[  PASSED  \] [1-9]")

    def kills(self):
        """kill -9 of the daemons and the token workers at random moments, with lists of what was acknowledged."""
        kills = self.times(10_000, 1)
        self.script_campaign("kills", "kills_test.py", f"{kills} kills", KILLS=kills)
        # A round leaves keys behind, and a token with more of them is slower.
        rounds = self.times(500, 1)
        self.script_campaign("kills while keys are made", "crash_keys_test.py", f"{rounds} rounds", ROUNDS=rounds)

    def power(self):
        """The machine's power goes at any moment: what was acknowledged is on the disk, as far as it was synced, and both
        daemons start on that."""
        cuts = self.times(1_000, 1)
        self.script_campaign("power", "power_loss_test.py", f"{cuts} power losses", CUTS=cuts)

    def writes(self):
        """Each single write, sync, truncate, rename and unlink of both daemons fails in turn."""
        every = max(1, round(1 / self.options.scale))
        self.script_campaign("writes", "failing_disk_test.py", f"one in {every} of them", EVERY=every)

    def memory(self):
        """The memory of kmsd, worker and vaultd is searched for PIN, data keys and secrets 1 s after their use."""
        trials = self.times(1_000, 1)
        self.script_campaign("memory", "memory_test.py", f"{trials} trials", TRIALS=trials)

    def stops(self):
        """Both daemons are stopped under load."""
        stops = self.times(1_000, 1)
        self.script_campaign("stops", "stop_test.py", f"{stops} stops", STOPS=stops)

    def tokens(self):
        """One of two tokens is taken away and comes back under load, and the only worker dies."""
        rounds = self.times(100, 1)
        self.script_campaign("tokens", "tokens_test.py", f"{rounds} rounds", ROUNDS=rounds)
        self.script_campaign("worker", "worker_test.py", f"{rounds} rounds", ROUNDS=rounds)

    def write_report(self, begun):
        lines = ["# Torture", "", f"Seed {self.options.seed}, {(time.monotonic() - begun) / 60:.1f} minutes, "
                 + ("short form" if self.options.short else f"scale {self.options.scale}") + ".", "",
                 "| campaign | done | came of it | held |", "|---|---|---|---|"]
        lines += [f"| {name} | {done} | {came} | {held} |" for name, done, came, held in self.rows]
        lines += ["", "## Promises that broke", ""] + [f"* {each}" for each in self.broken] if self.broken else []
        text = "\n".join(lines) + "\n"
        if self.options.report:
            self.options.report.write_text(text)
        return text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("--only", action="append", choices=CAMPAIGNS)
    parser.add_argument("--short", action="store_true", help="what ctest runs: some seconds of tampered, sweep, away and disk; with LONG=1 ten times as much")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--report", type=pathlib.Path)
    options = parser.parse_args()
    houses.House.programs = options.programs.resolve()
    torture, begun = Torture(options), time.monotonic()
    chosen = options.only or (CAMPAIGNS[:4] if options.short else CAMPAIGNS)
    text = ""
    for name in chosen:
        getattr(torture, name)()
        text = torture.write_report(begun)  # what was done is not lost with what comes after
    print(text)
    if all(row[-1] == "not run" for row in torture.rows):
        sys.exit(NOT_RUN)
    sys.exit(1 if torture.broken else 0)


if __name__ == "__main__":
    main()
