"""The SQL that stores speaking PostgreSQL's dialect share: expressions and SELECTs as text."""
