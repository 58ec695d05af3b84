"""T17: no fail point of the controller without a test that kills there. SPDX-License-Identifier: MIT"""
import inspect
import re
import unittest

import test_blobs
import test_controller
import test_retention
import test_shells
from harness import SOURCE

NAMED = re.compile(r'\b(?:fail|crash)_point\(\s*"([^"]+)"\s*\)')


class T17_EveryPoint(unittest.TestCase):
    def test_of_the_controller_has_a_test_that_kills_there(self):
        named = set()
        for path in (SOURCE / "src" / "controller").rglob("*.cc"):
            if not path.name.endswith("_test.cc"):
                named.update(NAMED.findall(path.read_text()))
        killed = set()
        for module in (test_blobs, test_controller, test_retention, test_shells):
            for _, case in inspect.getmembers(module, inspect.isclass):
                for name, method in inspect.getmembers(case, inspect.isfunction):
                    if name.startswith("test_"):
                        killed.update(getattr(method, "points", ()))
        self.assertGreater(len(named), 10)
        self.assertEqual(named, killed)


if __name__ == "__main__":
    unittest.main()
