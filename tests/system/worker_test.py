#!/usr/bin/env python3
"""kill -9 of kmsd's token workers under load: no wrong answer, nothing that can be asked again fails while another
worker stands by, and with both gone unwraps are answered again within two seconds, without a restart of
kmsd. ROUNDS=n makes it longer."""
import contextlib
import os
import pathlib
import signal
import statistics
import threading
import time
import unittest

import house

ROUNDS = house.number("ROUNDS", 3, 20)
CALLERS = 4
PAUSE_SECONDS = 0 if house.IS_LONG else 0.005  # of a caller between two unwraps
BACK_WITHIN_SECONDS = 2


class Caller(threading.Thread):
    """Unwraps the same data key until it is told to stop."""

    def __init__(self, client, wrapped, plaintext):
        super().__init__()
        self.client, self.wrapped, self.plaintext = client, wrapped, plaintext
        self.stopping = threading.Event()
        self.good, self.unavailable, self.wrong = 0, 0, []
        self.last_good = 0.0

    def run(self):
        with contextlib.closing(self.client):
            while not self.stopping.is_set():
                answer = self.client.call("POST", "/v1/data-keys/unwrap", {"wrapped": self.wrapped})
                if answer.status == 200 and answer.json()["plaintext"] == self.plaintext:
                    self.good += 1
                    self.last_good = time.monotonic()
                elif answer.status == 503:
                    self.unavailable += 1
                else:
                    self.wrong.append(answer)
                time.sleep(PAUSE_SECONDS)


class WorkerUnderFire(unittest.TestCase):
    def setUp(self):
        self.house = self.enterContext(house.House())
        self.kms = self.house.start("kmsd")
        with contextlib.closing(self.house.client(self.kms, "operator")) as operator:
            self.assertEqual(operator.call("POST", "/v1/keys", {"alias": "applications"}).status, 201)
        with contextlib.closing(self.house.client(self.kms, "app")) as client:
            self.data_key = client.call("POST", "/v1/keys/alias/applications/data-keys", {}).json()["data_keys"][0]

    def start_callers(self):
        callers = [Caller(self.house.client(self.kms, "app"), self.data_key["wrapped"], self.data_key["plaintext"])
                   for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
            self.addCleanup(caller.join)
            self.addCleanup(caller.stopping.set)
        return callers

    def wait_for_both(self):
        return house.wait_until(lambda: house.both_workers(self.kms), "a worker that serves and one that stands by")

    def stop(self, callers):
        for caller in callers:
            caller.stopping.set()
        for caller in callers:
            caller.join()
            self.assertEqual(caller.wrong, [])
            self.assertGreater(caller.good, 0)

    @house.both_forms
    def test_a_killed_worker_costs_no_unwrap_while_another_stands_by(self):
        callers = self.start_callers()
        for _ in range(ROUNDS):
            os.kill(self.wait_for_both()[0], signal.SIGKILL)
            before = [caller.good for caller in callers]
            house.wait_until(lambda: all(caller.good > count for caller, count in zip(callers, before)), "answers go on")
        self.stop(callers)
        self.assertEqual([caller.unavailable for caller in callers], [0] * CALLERS)

    @house.both_forms
    def test_with_both_workers_killed_unwraps_are_answered_within_two_seconds(self):
        callers, taken = self.start_callers(), []
        for _ in range(ROUNDS):
            workers = self.wait_for_both()
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
            killed = time.monotonic()
            house.wait_until(lambda: any(caller.last_good > killed + 0.05 for caller in callers), "answers again")
            taken.append(min(caller.last_good for caller in callers if caller.last_good > killed + 0.05) - killed)
        self.stop(callers)
        print("back after", ", ".join(f"{seconds:.2f} s" for seconds in taken))
        # The median: a moment in which other tests have the machine is not the worker's.
        self.assertLess(statistics.median(taken), BACK_WITHIN_SECONDS)

    def test_keys_are_made_and_used_after_a_kill(self):
        os.kill(self.wait_for_both()[0], signal.SIGKILL)
        with contextlib.closing(self.house.client(self.kms, "operator")) as operator:
            house.wait_until(lambda: operator.call("POST", "/v1/keys", {"alias": "after"}).status == 201, "a key is made")
            answer = operator.call("GET", "/v1/keys/alias/after")
            self.assertIsNotNone(answer.json()["versions"][0]["attributes"], answer)

    def test_the_workers_end_with_kmsd_even_when_it_is_killed(self):
        workers = self.wait_for_both()
        self.kms.kill()
        house.wait_until(lambda: not any(os.path.exists(f"/proc/{worker}") for worker in workers), "the workers are gone")

    def test_a_worker_is_not_dumpable_and_gains_no_privileges(self):
        for worker in self.wait_for_both():
            status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{worker}/status").read_text().splitlines())
            self.assertEqual(status["NoNewPrivs"].strip(), "1")
            self.assertEqual(os.stat(f"/proc/{worker}/mem").st_uid, 0)  # of a dumpable process it is the user's own
            arguments = pathlib.Path(f"/proc/{worker}/cmdline").read_bytes().split(b"\0")
            self.assertEqual(len(arguments), 2)


if __name__ == "__main__":
    house.main()
