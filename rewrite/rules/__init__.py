"""The rewrite rules: pure functions from a Context to edits, run in this order.

Order matters only where noted: edits of different rules never overlap except by nesting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rewrite.context import Context
from rewrite.edits import Edit
from rewrite.rules.child_tables import refuse_child_writes
from rewrite.rules.conflict_constraint import name_conflict_columns
from rewrite.rules.document_writes import write_documents
from rewrite.rules.dotted_paths import quote_dotted_paths
from rewrite.rules.expand_stars import expand_stars
from rewrite.rules.group_by_key import complete_group_by
from rewrite.rules.qualification import qualify_columns, qualify_relations
from rewrite.rules.sequences import lead_to_sequences
from rewrite.rules.table_parts import refuse_updates_of_others
from rewrite.rules.whole_rows import rebuild_whole_rows

Rule = Callable[[Context], Iterable[Edit]]

RULES: tuple[Rule, ...] = (
    refuse_child_writes,
    refuse_updates_of_others,
    qualify_relations,
    qualify_columns,
    quote_dotted_paths,
    expand_stars,
    rebuild_whole_rows,
    complete_group_by,
    name_conflict_columns,
    write_documents,
    lead_to_sequences,
)
