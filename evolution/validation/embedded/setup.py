"""The validator of the embedded store, from its settings."""

from __future__ import annotations

from config.validation import ValidationSettings
from evolution.layouts.base import Layouts, Looks
from evolution.validation.categories import policy_of
from evolution.validation.embedded.reports import EmbeddedReports
from evolution.validation.embedded.side import Connect
from evolution.validation.pace import ReadingPace
from evolution.validation.validator import ValidationLimits, Validator


def embedded_validator(
    layouts: Layouts, connect: Connect, validation: ValidationSettings
) -> Validator:
    """`connect` gives a superuser's connection to the catalog's database. Layouts that look at rows
    by themselves do it with this validator.

    Raises InvalidParameterValue (22023) for severities that do not exist.
    """
    pace = ReadingPace(validation.chunk_time, validation.chunk_bytes, validation.rows_per_s)
    limits = ValidationLimits(
        pace, policy_of(validation.severities), validation.sample_rows, validation.sample_seed
    )
    reports = EmbeddedReports(connect, validation.reports, validation.details)
    validator = Validator(layouts, reports, limits)
    if isinstance(layouts, Looks):
        layouts.look_with(validator.verify)
    return validator
