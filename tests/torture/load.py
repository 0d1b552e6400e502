"""A load on kmsd that keeps books of its own: which keys and data keys were acknowledged, and what each
must open to. Every answer is judged: good, refused for the moment, or a broken promise."""
import base64
import contextlib
import http.client
import random
import threading
import time
import uuid

REFUSED = (429, 503)


class Books:
    """What was acknowledged, over all callers."""

    def __init__(self):
        self.lock = threading.Lock()
        self.keys = []     # ids of master keys
        self.wrapped = []  # (wrapped data key, plaintext)
        self.counts = {"answered": 0, "refused": 0}
        self.broken = []   # promises, in words

    def note(self, what):
        with self.lock:
            self.counts[what] += 1

    def break_promise(self, text):
        with self.lock:
            if len(self.broken) < 100:
                self.broken.append(text)

    def keep(self, data_key):
        with self.lock:
            self.wrapped.append((data_key["wrapped"], data_key["plaintext"]))

    def keep_key(self, key):
        with self.lock:
            self.keys.append(key)

    def draw(self, source):
        with self.lock:
            return source.choice(self.wrapped) if self.wrapped else None


class Caller:
    """One connection's work. `tolerated`: statuses that a good request may get while something is broken on
    purpose, besides those of refusal."""

    def __init__(self, house, daemon, books, seed):
        self.house, self.daemon, self.books = house, daemon, books
        self.random = random.Random(seed)
        self.tolerated = ()
        self.last_refusal = None  # in words
        self.client = house.client(daemon, "operator")

    def call(self, method, path, body=None):
        """The answer, or None when it was refused for the moment or the connection broke."""
        try:
            answer = self.client.call(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            self.last_refusal = repr(error)
            if self.daemon.process.poll() is not None:
                self.books.break_promise("kmsd ended")
            return None
        if answer.status in REFUSED or answer.status in self.tolerated:
            self.books.note("refused")
            self.last_refusal = f"{answer.status} {answer.body[:400]!r}"
            return None
        if answer.status not in (200, 201):
            self.books.break_promise(f"{method} {path} gives {answer.status} {answer.body[:120]!r}")
            return None
        self.books.note("answered")
        return answer

    def make_data_key(self):
        answer = self.call("POST", "/v1/keys/alias/applications/data-keys", {})
        if answer:
            self.books.keep(answer.json()["data_keys"][0])
        return bool(answer)

    def unwrap(self, pair=None):
        pair = pair or self.books.draw(self.random)
        if pair is None:
            return self.make_data_key()
        answer = self.call("POST", "/v1/data-keys/unwrap", {"wrapped": pair[0]})
        if answer and answer.json().get("plaintext") != pair[1]:
            self.books.break_promise(f"{pair[0][:24]}... opens to something else")
        return bool(answer)

    def make_key(self):
        answer = self.call("POST", "/v1/keys", {"description": "torture"})
        if answer:
            self.books.keep_key(answer.json()["id"])
        return bool(answer)

    def step(self, keys=0.02):
        draw = self.random.random()
        if draw < keys:
            return self.make_key()
        return self.make_data_key() if draw < 0.4 else self.unwrap()

    def first_success(self, bound):
        """Seconds until a data key is made and opened; None when it takes longer than `bound`."""
        begin = time.monotonic()
        while time.monotonic() - begin < bound:
            if self.make_data_key() and self.unwrap():
                return time.monotonic() - begin
            time.sleep(0.005)
        return None

    def close(self):
        self.client.close()


class Load:
    """Callers side by side until stopped; use it in a `with`."""

    def __init__(self, house, daemon, books, seed, callers=3, keys=0.02):
        self.callers = [Caller(house, daemon, books, f"{seed} {i}") for i in range(callers)]
        self.keys, self.stopping = keys, False
        self.steps = [0] * callers
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(callers)]

    def tolerate(self, *statuses):
        for caller in self.callers:
            caller.tolerated = statuses

    @contextlib.contextmanager
    def without_keys(self):
        """No key is being made within it."""
        keys, self.keys = self.keys, 0
        before = list(self.steps)
        while any(now == then for now, then in zip(self.steps, before)):  # the step that may make one
            time.sleep(0.005)
        try:
            yield
        finally:
            self.keys = keys

    def _run(self, number):
        while not self.stopping:
            if not self.callers[number].step(self.keys):
                time.sleep(0.002)
            self.steps[number] += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        for thread in self.threads:
            thread.join()
        for caller in self.callers:
            caller.close()


def check_books(house, daemon, books, sample=None, source=random, patience=0):
    """Every acknowledged key can be used and every acknowledged data key, or a sample of them, opens. `patience`: for so
    many seconds what is refused for the moment is asked again; a deadline that is short is not always met when all is well."""
    with contextlib.closing(Caller(house, daemon, books, 0)) as caller:
        if caller.first_success(10) is None:
            books.break_promise("not back within 10 s")
            return
        with books.lock:
            keys, wrapped = list(books.keys), list(books.wrapped)
        if sample is not None:
            keys = source.sample(keys, min(sample, len(keys)))
            wrapped = source.sample(wrapped, min(sample, len(wrapped)))

        def succeeds(work):
            end = time.monotonic() + patience
            while not (answer := work()) and time.monotonic() < end:
                time.sleep(0.005)
            return answer

        for key in keys:
            if not succeeds(lambda: caller.call("POST", f"/v1/keys/{key}/data-keys", {})):
                books.break_promise(f"key {key} was acknowledged and can't be used: {caller.last_refusal}")
        for pair in wrapped:
            if not succeeds(lambda: caller.unwrap(pair)):
                books.break_promise(f"{pair[0][:24]}... was acknowledged and is refused when all is well: "
                                    f"{caller.last_refusal}")


KEY_ID = slice(6, 22)  # in a wrapped data key, kms/envelope.h


def tampered(wrapped, number):
    """The wrapped data key with something wrong, of five kinds in turn: (kind, wrapped)."""
    raw = bytearray(base64.b64decode(wrapped))
    where = (number * 2654435761) % len(raw)
    kind = ("a bit", "a bit of the tag", "cut short", "too long", "half of it")[number % 5]
    if kind == "a bit":
        raw[where] ^= 1 << (number % 8)
    elif kind == "a bit of the tag":
        raw[-1 - number % 16] ^= 0x80
    elif kind == "cut short":
        del raw[where:]
    elif kind == "too long":
        raw += b"\0"
    else:
        raw[len(raw) // 2:] = bytes((number >> shift) % 256 for shift in range(len(raw) - len(raw) // 2))
    return kind, base64.b64encode(raw).decode()


def with_key_id(wrapped, key):
    """The wrapped data key as if it were of that master key."""
    raw = bytearray(base64.b64decode(wrapped))
    raw[KEY_ID] = uuid.UUID(key).bytes
    return base64.b64encode(raw).decode()


class Replays:
    """What must not open for the tenant `acme`, whoever made it: its own data key with something wrong, or asked for under
    another context, and one of `globex`."""

    def __init__(self, caller, operator):
        """`caller` is acme's own; `operator` makes what acme has no right to."""
        self.caller, self.context = caller, {"tenant": "acme", "record": "1"}
        self.own = self._made(caller, "applications", self.context)
        self.of_other = self._made(operator, "applications", {"tenant": "globex", "record": "1"})
        self.other_key = operator.call("POST", "/v1/keys", {"alias": "other"}).json()["id"]

    @staticmethod
    def _made(client, alias, context):
        answer = client.call("POST", f"/v1/keys/alias/{alias}/data-keys", {"context": context})
        assert answer.status == 200, answer
        return answer.json()["data_keys"][0]

    def opens(self):
        """Whether acme still opens what is its own; without that no refusal says anything."""
        answer = self.caller.call("POST", "/v1/data-keys/unwrap", {"wrapped": self.own["wrapped"], "context": self.context})
        return answer.status == 200 and answer.json()["plaintext"] == self.own["plaintext"]

    def draw(self, number):
        """(kind, body of the request), of each kind in turn."""
        turn, wrapped = number % 8, self.own["wrapped"]
        if turn == 5:
            return "another key's id", {"wrapped": with_key_id(wrapped, self.other_key), "context": self.context}
        if turn == 6:
            others = ({"record": "2"}, {"record": "1", "more": ""}, {"Record": "1"}, {})
            return "another context", {"wrapped": wrapped, "context": {"tenant": "acme", **others[number // 8 % 4]}}
        if turn == 7:
            return "another tenant's", {"wrapped": self.of_other["wrapped"], "context": self.context}
        kind, bad = tampered(wrapped, number // 8 * 5 + turn)
        return kind, {"wrapped": bad, "context": self.context}
