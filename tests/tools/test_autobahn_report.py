"""The Autobahn run fails when a case fails, closes with a wrong code, or is missing."""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "autobahn"))

import report  # noqa: E402


def cases():
    good = {"behavior": "OK", "behaviorClose": "OK", "remoteCloseCode": 1000}
    found = {f"1.1.{at}": dict(good) for at in range(report.COUNT - len(report.NON_STRICT))}
    found.update({name: dict(good, behavior="NON-STRICT") for name in report.NON_STRICT})
    return found


def judge(found):
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as said:
        index = os.path.join(folder, "index.json")
        with open(index, "w", encoding="utf-8") as file:
            json.dump({report.AGENT: found}, file)
        return report.result(index), said.getvalue().splitlines()[-1]


class Result(unittest.TestCase):
    def test_what_is_as_it_has_to_be(self):
        self.assertEqual(judge(cases()), (0, f"{report.COUNT} passed, 0 failed"))

    def test_planted_faults(self):
        for field, wrong in [("behavior", "FAILED"), ("behavior", "NON-STRICT"),
                             ("behavior", "UNIMPLEMENTED"), ("behaviorClose", "WRONG CODE"),
                             ("behaviorClose", "UNCLEAN")]:
            found = cases()
            found["1.1.7"][field] = wrong
            status, last = judge(found)
            self.assertEqual((status, last), (1, f"{report.COUNT - 1} passed, 1 failed"), wrong)

    def test_a_run_that_ended_early(self):
        found = cases()
        del found["1.1.7"]
        self.assertEqual(judge(found)[0], 1)
        self.assertEqual(judge({})[0], 1)


if __name__ == "__main__":
    unittest.main()
