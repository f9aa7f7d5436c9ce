"""Temporary tables of the session's own backend that hold staged rows."""

from __future__ import annotations

from catalog.sqltext import quote_ident
from engine.merge import analyze_texts, create_text, staged_columns
from proxy.piles import Pile
from proxy.session_store import SessionStore


def temporary(name: str) -> str:
    """A temporary table as statements call it."""
    return f"pg_temp.{quote_ident(name)}"


async def load_pile(store: SessionStore, name: str, pile: Pile) -> str:
    """A new one with the rows of a pile, as statements call it; it goes at the end of the
    transaction.
    """
    quoted = temporary(name)
    await store.fetch(create_text(name, pile.columns))
    if pile.large:
        await store.copy_in(f"COPY {quoted} FROM STDIN (FORMAT binary)", pile.pieces())
        names = (quote_ident(column) for column, _ in staged_columns(pile.columns))
        for text in analyze_texts(quoted, names):
            await store.fetch(text)
    return quoted
