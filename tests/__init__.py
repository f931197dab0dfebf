"""Every test runs on the real thing: real files, real servers, a real browser."""

import pytest

pytest.register_assert_rewrite("tests.archives")
