"""Errors, types, expression IR, Arrow encoders, clock, telemetry."""
