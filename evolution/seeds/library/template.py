"""morph.template: a text with fields of the row in it.

The pattern is cut into pieces by a function of the pattern alone, which the planner evaluates once
per plan for a constant pattern; a row then costs a concatenation per field.
"""

from __future__ import annotations

from evolution.seeds.library.generator import (
    Example,
    Generator,
    plpgsql_function,
    sql_function,
    statements,
)

# Literal, field name, literal, field name, …, literal.
_PIECES = plpgsql_function(
    "morph._template_pieces(pattern text)",
    "text[]",
    """
DECLARE
  pieces text[] := '{}';
  literal text := '';
  token text;
BEGIN
  FOR token IN
    SELECT m.parts[1]
    FROM regexp_matches(pattern, '[{][{]|[}][}]|[{][^{}]*[}]|[^{}]+|[{}]', 'g') m(parts)
  LOOP
    IF token = '{' OR token = '}' THEN
      RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
        MESSAGE = format('pattern of morph.template has a single "%s"', token),
        HINT = 'Write it twice to get one of it.';
    ELSIF token = '{{' OR token = '}}' THEN
      literal := literal || left(token, 1);
    ELSIF left(token, 1) = '{' THEN
      pieces := pieces || literal || substr(token, 2, length(token) - 2);
      literal := '';
    ELSE
      literal := literal || token;
    END IF;
  END LOOP;
  RETURN pieces || literal;
END""",
    strict=True,
)


def _fill(arguments: str, found: str, value: str) -> str:
    return plpgsql_function(
        f"morph._template_fill(pieces text[], {arguments})",
        "text",
        f"""
DECLARE
  filled text := pieces[1];
  at int := 2;
BEGIN
  WHILE at < cardinality(pieces) LOOP
    IF {found} THEN
      filled := filled || coalesce({value}, '') || pieces[at + 1];
    ELSE
      RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
        MESSAGE = format('morph.template has no value for "%s"', pieces[at]);
    END IF;
    at := at + 2;
  END LOOP;
  RETURN filled;
END""",
        strict=True,
    )


_FILL_ROW = _fill("fields jsonb", "fields ? pieces[at]", "fields ->> pieces[at]")
_FILL_LIST = _fill(
    'VARIADIC "values" text[]',
    "pieces[at] ~ '^[1-9][0-9]{0,3}$' AND pieces[at]::int <= cardinality(\"values\")",
    '"values"[pieces[at]::int]',
)

TEMPLATE = Generator(
    name="template",
    signatures=(
        "morph.template(pattern text, VARIADIC values text[]) → text",
        "morph.template(pattern text, fields jsonb) → text",
    ),
    summary=(
        "The pattern with `{1}`, `{2}`, … replaced by the values, or `{name}` by the field of that "
        "name; `{{` and `}}` are single braces. A field that is not there is an error (22023) with "
        "its name."
    ),
    nulls=(
        "NULL when the pattern or the jsonb is NULL. A value that is NULL (or JSON null) is an "
        "empty text."
    ),
    cost="1.9 µs with two fields and a constant pattern",
    examples=(
        Example("morph.template('{1} {2}', 'Ada', 'Lovelace')", "Ada Lovelace"),
        Example("morph.template('{2}, {1}', 'Ada', NULL)", ", Ada"),
        Example(
            "morph.template('{first} {last}', "
            "JSON_OBJECT('first': 'Ada', 'last': 'Lovelace' RETURNING jsonb))",
            "Ada Lovelace",
        ),
        Example("morph.template('{{{a}}}', '{\"a\": 1}'::jsonb)", "{1}"),
        Example("morph.template(NULL, 'Ada')", None),
        Example("morph.template('{first}', '{}'::jsonb)", sqlstate="22023"),
        Example("morph.template('{3}', 'Ada')", sqlstate="22023"),
        Example("morph.template('{', 'Ada')", sqlstate="22023"),
    ),
    ddl=statements(
        _PIECES,
        _FILL_ROW,
        _FILL_LIST,
        sql_function(
            "morph.template(pattern text, fields jsonb)",
            "text",
            "morph._template_fill(morph._template_pieces(pattern), fields)",
        ),
        sql_function(
            'morph.template(pattern text, VARIADIC "values" text[])',
            "text",
            'morph._template_fill(morph._template_pieces(pattern), VARIADIC "values")',
        ),
    ),
    notes=(
        "Values are text: cast numbers (`id::text`) and give dates through an immutable form. "
        "`jsonb_build_object` is only STABLE, so a generated column cannot use it; "
        "`JSON_OBJECT(… RETURNING jsonb)` over text and numbers is immutable."
    ),
)
