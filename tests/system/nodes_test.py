#!/usr/bin/env python3
"""Two kmsd and two vaultd nodes on one PostgreSQL server and one token: what was acknowledged is there on both, each secret is
its owner's, whichever node is killed and whatever becomes of the database server; a vaultd goes on without its kmsd, and a
rewrap job without its vaultd. ROUNDS=n makes the loops longer, SEED=n repeats the choices of one."""
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import random
import signal
import sys
import threading
import time
import unittest

import house

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import postgresql  # noqa: E402

ROUNDS = house.number("ROUNDS", 1, 4)
# Of those who write meanwhile; all that they store is looked at again, at both nodes.
OWNERS = ("acme", "globex") * (2 if house.IS_LONG else 1)
PAUSE_SECONDS = 0 if house.IS_LONG else 0.1
KEYS = 0.15 if house.IS_LONG else 0.05  # how many of the orders are for a key
DEADLINE_MS = 2000  # of the daemons' database works
NAMES = ("operator", "app", "vaultd")
EVERYTHING = {"version": 1,
              "roles": {"all": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["*"]}]},
              "bindings": [{"caller": f"spiffe://strongroom/{name}", "roles": ["all"]} for name in NAMES]}


class Node:
    """One daemon of several: a configuration of its own in the folder of its kind, and the port it got first. A vaultd has the
    kmsd of its number, and the other ones beside it."""

    def __init__(self, nodes, kind, number, kms=()):
        self.nodes, self.kind, self.number, self.kms = nodes, kind, number, kms
        self.port, self.daemon = 0, None

    def start(self):
        strongroom = self.nodes.house
        changes = {"listen": {"address": "127.0.0.1", "port": self.port},
                   "audit": {"directory": f"audit-{self.number}", "node": f"{self.kind}-{self.number}"},
                   "store": self.nodes.server.config(schema=self.kind, deadline_ms=DEADLINE_MS, connections=6)}
        strongroom.configure(self.kind, changes, kms_port=self.kms[self.number].port if self.kms else 0)
        folder = strongroom.folder / self.kind
        strongroom.write(folder / "policy.json", json.dumps(EVERYTHING))
        config = json.loads((folder / f"{self.kind}.json").read_text())
        if self.kms:
            config["kms"]["more_urls"] = [f"https://127.0.0.1:{other.port}" for other in self.kms if other.number != self.number]
            config["rewrap"] = {"workers": 1}
        file = folder / f"node-{self.number}.json"
        strongroom.write(file, json.dumps(config))
        self.daemon = house.Daemon(strongroom, self.kind, config=file)
        self.port = self.daemon.wait_ready()
        return self

    def client(self, name="app"):
        return house.Client(self.port, self.nodes.house.pki, name)

    def call(self, *arguments, name="app"):
        with contextlib.closing(self.client(name)) as client:
            return client.call(*arguments)


class Nodes:
    """Use it in a `with`."""

    def __init__(self):
        self.server = postgresql.Server(fsync="on")

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        try:
            self._stack.callback(self.server.end)
            self.house = self._stack.enter_context(house.House())
            self.kms = [Node(self, "kmsd", number).start() for number in range(2)]
            made = self.kms[0].call("POST", "/v1/keys", {"alias": "credentials"}, name="operator")
            assert made.status == 201, made
            self.vault = [Node(self, "vaultd", number, self.kms).start() for number in range(2)]
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *error):
        self._stack.__exit__(*error)


class Writer(threading.Thread):
    """Stores credentials of its own owner and makes keys, now at this node, now at that; keeps what was acknowledged."""

    def __init__(self, nodes, owner, first, seed):
        super().__init__()
        self.nodes, self.owner, self.number = nodes, owner, first
        self.random = random.Random(seed)
        self.secrets = {}  # name: the secret that was acknowledged
        self.open = {}  # name: the secret of a store whose outcome nobody told
        self.keys = {}  # Idempotency-Key: key id
        self.clients = {}  # by node; a connection that broke is made anew
        self.failures = []
        self.stopping = False

    def run(self):
        while not self.stopping:
            try:
                self.store()
                if self.random.random() < KEYS:
                    self.make_key()
                time.sleep(PAUSE_SECONDS)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)  # the node was killed, or is not there: another one
            except AssertionError as error:
                self.failures.append(error)
                break
        for client in self.clients.values():
            client.close()

    def call(self, node, name, *arguments):
        if node not in self.clients:
            self.clients[node] = node.client(name)
        return self.clients[node].call(*arguments)

    def store(self):
        self.number += 1
        name, secret = f"c{self.number}", {"owner": self.owner, "name": f"c{self.number}", "token": os.urandom(8).hex()}
        self.open[name] = secret
        answer = self.call(
            self.random.choice(self.nodes.vault), "app", "PUT", house.credential_path(self.owner, name), {"secret": secret, "if_version": 0})
        assert answer.status in (201, 503), answer
        if answer.status == 201:
            self.secrets[name] = self.open.pop(name)

    def make_key(self):
        self.number += 1
        order = f"{self.owner}-{self.number}"
        while not self.stopping:
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = self.call(self.random.choice(self.nodes.kms), "operator", "POST", "/v1/keys", {"description": order},
                                   {"Idempotency-Key": order})
                # 409: the first one is under way, at the node that was killed; its lease has not ended.
                assert answer.status in (201, 503, 409), answer
                if answer.status == 201:
                    self.keys[order] = answer.json()["id"]
                if answer.status != 503:
                    return
            time.sleep(0.02)


class SeveralNodes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if postgresql.programs() is None:
            raise unittest.SkipTest("the package postgresql is not installed")
        seed = os.environ.get("SEED", str(time.time_ns()))
        print(f"SEED={seed}")
        cls.random = random.Random(seed)
        cls.nodes = cls.enterClassContext(Nodes())
        cls.first = 0

    def write_during(self, trouble):
        """Writers at work while trouble() happens; the writers."""
        SeveralNodes.first += 100_000
        writers = [Writer(self.nodes, owner, self.first + number * 10_000, self.random.random())
                   for number, owner in enumerate(OWNERS)]
        for writer in writers:
            writer.start()
        house.wait_until(lambda: all(writer.secrets for writer in writers), "each writer stored something")
        try:
            trouble()
            stored = [len(writer.secrets) for writer in writers]
            house.wait_until(lambda: any(writer.failures for writer in writers) or all(
                len(writer.secrets) > before for writer, before in zip(writers, stored)), "each writer stores again", 20)
            self.wait_until_all_reveal(writers[0])
        finally:
            for writer in writers:
                writer.stopping = True
            for writer in writers:
                writer.join()
        for writer in writers:
            self.assertEqual(writer.failures, [])
        return writers

    def wait_until_all_reveal(self, writer):
        """Each vaultd, not only the one that the writers came to: a node that the database server did not let in a moment
        ago asks again up to a second later, and says 503 until then."""
        path = house.credential_path(writer.owner, next(iter(writer.secrets)), "/reveal")
        for vault in self.nodes.vault:
            house.wait_until(lambda vault=vault: vault.call("POST", path).status == 200, "the node reveals again", 5)

    @staticmethod
    def enabled_keys(client):
        """The ids by description, as one node lists them."""
        described, cursor = {}, ""
        while True:
            page = client.call("GET", "/v1/keys?limit=100" + (f"&cursor={cursor}" if cursor else "")).json()
            for key in page["keys"]:
                if key["state"] == "enabled":
                    described.setdefault(key["description"], []).append(key["id"])
            cursor = page.get("next_cursor", "")
            if not cursor:
                return described

    def check(self, writers):
        """Everything acknowledged is there, on both nodes, once, and its owner's."""
        for vault in self.nodes.vault:
            with contextlib.closing(vault.client()) as client:
                for writer in writers:
                    for name, secret in writer.secrets.items():
                        seen = client.call("POST", house.credential_path(writer.owner, name, "/reveal"))
                        self.assertEqual((seen.status, seen.json().get("secret"), seen.json().get("version")),
                                         (200, secret, 1), (writer.owner, name))
                    for name, secret in writer.open.items():  # it happened whole, or not at all
                        seen = client.call("POST", house.credential_path(writer.owner, name, "/reveal"))
                        self.assertIn((seen.status, seen.json().get("secret")), ((200, secret), (404, None)))
        for kms in self.nodes.kms:
            with contextlib.closing(kms.client("operator")) as client:
                # A node follows what another one made within a second; no later, and nothing less.
                expected = {order for writer in writers for order in writer.keys}
                described = house.wait_until(lambda: (seen := self.enabled_keys(client)).keys() >= expected and seen,
                                             "the node knows every key that was acknowledged", 1)
                for writer in writers:
                    for order, key in writer.keys.items():
                        self.assertEqual(described.get(order), [key], order)
                        # SoftHSM begins anew to see another process's keys, at most twice a second: 503 in between.
                        house.wait_until(lambda: client.call("POST", f"/v1/keys/{key}/data-keys", {}).status == 200,
                                         "the key is used at this node", 5, every=0.05)
            for order, keys in described.items():
                self.assertEqual(len(keys), 1, f"{order} was made twice")

    def test_1_a_key_made_at_one_node_is_used_at_the_other_and_a_disable_is_honoured_within_a_second(self):
        first, second = self.nodes.kms
        key = first.call("POST", "/v1/keys", {}, name="operator").json()["id"]
        with contextlib.closing(second.client("operator")) as there, contextlib.closing(first.client("operator")) as here:
            made = house.wait_until(lambda: (answer := there.call("POST", f"/v1/keys/{key}/data-keys", {})).status == 200 and answer,
                                    "the other node knows the key", 1)
            wrapped = made.json()["data_keys"][0]["wrapped"]
            self.assertEqual(here.call("POST", "/v1/data-keys/unwrap", {"wrapped": wrapped}).status, 200)
            self.assertEqual(here.call("POST", f"/v1/keys/{key}/disable").status, 200)
            begin = time.monotonic()
            self.assertEqual(here.call("POST", "/v1/data-keys/unwrap", {"wrapped": wrapped}).status, 409)
            house.wait_until(lambda: there.call("POST", "/v1/data-keys/unwrap", {"wrapped": wrapped}).status == 409,
                             "the other node refuses")
            self.assertLess(time.monotonic() - begin, 1)

    @house.both_forms
    def test_2_kill_9_of_one_of_each_loses_nothing_that_was_acknowledged(self):
        def kill_one_of_each():
            victims = [self.random.choice(nodes) for nodes in (self.nodes.kms, self.nodes.vault)]
            self.random.shuffle(victims)
            for victim in victims:
                time.sleep(self.random.uniform(0, 0.1))  # the moment is what is random here
                victim.daemon.kill()
            for victim in sorted(victims, key=lambda node: node.kind):  # a vaultd's kmsd first
                victim.start()

        for _ in range(ROUNDS):
            self.check(self.write_during(kill_one_of_each))

    @house.both_forms
    def test_3_the_database_server_ends_connections_restarts_and_stands_still(self):
        def terminate():
            for _ in range(3):
                self.nodes.server.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                                      "WHERE application_name LIKE 'strongroom/%'")
                time.sleep(0.05)

        def stand_still():
            self.nodes.server.signal_all(signal.SIGSTOP)
            try:
                with contextlib.closing(self.nodes.kms[0].client()) as client:
                    begin = time.monotonic()
                    self.assertEqual(client.call("GET", "/healthz").status, 200)
                    self.assertLess(time.monotonic() - begin, 1)

                def store(node):
                    begin = time.monotonic()
                    answer = node.call("PUT", house.credential_path("acme", "late"), {"secret": {"a": 1}, "if_version": 0})
                    return answer.status, time.monotonic() - begin

                with concurrent.futures.ThreadPoolExecutor() as threads:
                    for status, seconds in threads.map(store, self.nodes.vault):
                        self.assertEqual(status, 503)
                        # A work and the question what became of it have a deadline each; the rest is patience for a busy machine.
                        self.assertLess(seconds, 2 * DEADLINE_MS / 1000 + 2)
            finally:
                self.nodes.server.signal_all(signal.SIGCONT)

        for _ in range((ROUNDS + 1) // 2):
            for trouble in (terminate, self.nodes.server.restart, stand_still):
                with self.subTest(trouble.__name__):
                    self.check(self.write_during(trouble))

    @house.both_forms
    def test_4_without_a_kmsd_both_vaultd_go_on_with_the_other_one(self):
        for victim in self.nodes.kms if house.IS_LONG else [self.random.choice(self.nodes.kms)]:
            with self.subTest(victim.number):
                self.check(self.write_during(lambda victim=victim: self.vaults_without(victim)))

    def vaults_without(self, victim):
        """Kills that kmsd; both vaultd store and reveal soon all the same; starts it again."""
        victim.daemon.kill()
        begin = time.monotonic()
        for vault in self.nodes.vault:
            path = house.credential_path("acme", f"without-{victim.number}-{vault.number}")
            with contextlib.closing(vault.client()) as client:
                # One 503 is for a data key that was ordered when the node died: it is not ordered twice.
                house.wait_until(lambda: client.call("PUT", path, {"secret": {"a": 1}}).status in (200, 201), "a store", 10)
                for _ in range(20):
                    self.assertEqual(client.call("POST", path + "/reveal").status, 200)
        self.assertLess(time.monotonic() - begin, 10)
        victim.start()

    @house.both_forms
    def test_5_a_rewrap_job_goes_on_whichever_vaultd_is_killed_and_loses_nothing(self):
        def rewrap():
            rotated = self.nodes.kms[0].call("POST", "/v1/keys/alias/credentials/rotate", name="operator")
            self.assertEqual(rotated.status, 200, rotated)
            version = rotated.json()["primary_version"]
            time.sleep(1)  # within a second the other kmsd knows of it: that is its promise
            job = self.nodes.vault[0].call("POST", "/v1/rewrap-jobs", {"records_per_second": 200}, name="operator")
            self.assertEqual((job.status, job.json().get("key_version")), (201, version), job)
            path = "/v1/rewrap-jobs/" + job.json()["id"]

            def progress(node):
                return node.call("GET", path, name="operator").json()

            house.wait_until(lambda: progress(self.nodes.vault[1])["records"]["done"] > 0, "the job moves records", every=0.05)
            victim, other = self.random.sample(self.nodes.vault, 2)
            victim.daemon.kill()
            done = progress(other)["records"]["done"]
            house.wait_until(lambda: progress(other)["state"] == "completed" or progress(other)["records"]["done"] > done,
                             "the other node goes on", every=0.05)
            victim.start()
            # What the victim had under way is another's after half a minute. The short form does not wait for it.
            if not house.IS_LONG:
                self.nodes.server.sql("UPDATE vaultd.rewrap_leases SET expires_at = 1")
            over = house.wait_until(lambda: (job := progress(victim))["state"] == "completed" and job, "the job's end", 150, every=0.1)
            self.assertEqual((over["safe_to_retire"]["safe"], over["safe_to_retire"]["remaining"]), (True, 0), over)
            self.assertEqual(over["safe_to_retire"]["versions_below"], version)
            self.assertEqual(over["records"]["failed"], 0, over)
            self.assertEqual(self.nodes.server.sql(
                f"SELECT count(*) FROM vaultd.versions WHERE erased_at IS NULL AND key_version < {version}"), "0")

        before = self.write_during(lambda: None)  # something to move
        writers = self.write_during(rewrap)
        self.check(before + writers)


if __name__ == "__main__":
    house.main()
