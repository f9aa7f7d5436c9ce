"""Prints docs/system-views.md."""

from __future__ import annotations

import sys

from catalog.system_views import reference

sys.stdout.write(reference())
