"""The counts that `make test` closes on are true."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "tools"))

from test_report import CargoReport, closing_line, skipped  # noqa: E402

OK = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s"
BAD = "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished"


def report(lines, status):
    seen = []
    found = CargoReport(lambda name, passed, failed, _: seen.append((name, passed, failed)))
    for line in lines:
        found.line(line + "\n")
    explanation = found.finish(status)
    return found, seen, explanation


class CargoOutput(unittest.TestCase):
    def test_sums_over_all_targets(self):
        found, seen, _ = report(
            ["   Compiling a v0.1.0", "     Running unittests src/lib.rs (a)", "test x ... ok", OK,
             "   Doc-tests a", OK], 0)
        self.assertEqual((found.passed, found.failed, found.compiled), (6, 0, 1))
        self.assertEqual([name for name, _, _ in seen], ["unittests src/lib.rs (a)", "a"])

    def test_failed_tests_count(self):
        found, _, _ = report(["     Running a", BAD, "     Running b", OK], 101)
        self.assertEqual((found.passed, found.failed), (5, 1))

    def test_a_crashed_binary_counts_as_failed(self):
        found, seen, _ = report(
            ["     Running a", "running 5 tests", "     Running b", OK,
             "error: 1 target failed:"], 101)
        self.assertEqual((found.passed, found.failed), (3, 1))
        self.assertEqual(seen[0], ("a", 0, 1))
        found, _, _ = report(["     Running a", "test x ... ok"], 101)
        self.assertEqual((found.passed, found.failed), (0, 1))

    def test_a_compile_error_counts_as_failed_and_is_shown(self):
        found, _, explanation = report(["error[E0425]: cannot find value"], 101)
        self.assertEqual((found.passed, found.failed), (0, 1))
        self.assertIn("error[E0425]: cannot find value", explanation)

    def test_a_failing_run_is_never_zero_failed(self):
        found, _, _ = report(["     Running a", OK], 101)
        self.assertEqual(found.failed, 1)

    def test_colours_do_not_hide_results(self):
        found, _, _ = report(["\x1b[1m\x1b[92m     Running\x1b[0m a", OK], 0)
        self.assertEqual(found.passed, 3)

    def test_a_result_printed_by_a_test_is_not_counted_twice(self):
        found, _, _ = report(["     Running a", OK, OK], 0)
        self.assertEqual(found.passed, 3)


class Skipped(unittest.TestCase):
    def test_what_is_left_out_is_found_wherever_it_was_said(self):
        lines = []
        found = CargoReport(lambda *target: lines.extend(target[3]))
        for line in ["     Running a", "test x ... skipped: power_loss (no loop devices)", "ok",
                     "skipped: flood (not its turn)", "he said skipped: no", OK]:
            found.line(line + "\n")
        self.assertEqual(skipped(lines), ["power_loss (no loop devices)", "flood (not its turn)"])


class ClosingLine(unittest.TestCase):
    def test_the_last_counts_are_taken(self):
        self.assertEqual(closing_line(["1 passed, 0 failed\n", "noise", "4 passed, 2 failed"], 1),
                         (4, 2))

    def test_silence_and_lies_count_as_failed(self):
        self.assertEqual(closing_line(["Traceback"], 1), (0, 1))
        self.assertEqual(closing_line([], 0), (0, 1))
        self.assertEqual(closing_line(["4 passed, 0 failed"], 3), (4, 1))


if __name__ == "__main__":
    unittest.main()
