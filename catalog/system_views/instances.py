"""morph.instances."""

from __future__ import annotations

from catalog.system_views.view import SystemView

INSTANCES = SystemView(
    "instances",
    "The stores behind this endpoint.",
    (
        ("instance_id", "Its name."),
        ("kind", "embedded, mongodb, cassandra or postgres."),
        ("dsn_ref", "Where its connection comes from; never a secret."),
        ("role", "primary, replica or partition."),
        ("model_version", "Version of the model it serves as current."),
        ("freshness_at", "When the model was last brought up to date."),
        ("health", "ok, or what is wrong."),
    ),
    """
SELECT instance_id, kind, dsn_ref, role, model_version, freshness_at, health
FROM morph_catalog.instances ORDER BY instance_id""",
)
