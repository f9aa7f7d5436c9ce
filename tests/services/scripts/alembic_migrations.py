"""mlflow's tracking store: its first tables, then all of its Alembic migrations."""

from __future__ import annotations

import sys

import sqlalchemy
from mlflow.store.db.utils import _initialize_tables

host, port, database, user = sys.argv[1:5]
engine = sqlalchemy.create_engine(f"postgresql+psycopg://{user}@{host}:{port}/{database}")
_initialize_tables(engine)
with engine.begin() as connection:
    connection.execute(sqlalchemy.text("INSERT INTO experiments (name) VALUES ('one')"))
print("good")
