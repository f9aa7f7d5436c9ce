"""SQLAlchemy: start-up queries, reflection, ORM round trip, over psycopg 3 and psycopg2."""

import sys

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

host, port = sys.argv[1], int(sys.argv[2])


class Base(DeclarativeBase):
    pass


class Parcel(Base):
    __tablename__ = "parcel"
    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(sa.String(30), unique=True)
    weight: Mapped[float | None]


for driver in ("psycopg", "psycopg2"):
    engine = sa.create_engine(f"postgresql+{driver}://morph@{host}:{port}/morph")
    inspector = sa.inspect(engine)
    assert {"customers", "orders", "orders_items"} <= set(inspector.get_table_names())
    columns = {c["name"]: c["type"] for c in inspector.get_columns("orders")}
    assert isinstance(columns["total"], sa.Numeric) and isinstance(columns["tags"], sa.ARRAY)
    assert inspector.get_pk_constraint("orders")["constrained_columns"] == ["_id"]
    orders = sa.Table("orders", sa.MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        query = sa.select(sa.func.count()).where(orders.c["address.city"] == "Berlin")
        assert connection.execute(query.select_from(orders)).scalar_one() > 1000
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Parcel(label="a", weight=1.5), Parcel(label="b")])
        session.commit()
        found = session.scalars(sa.select(Parcel).order_by(Parcel.label)).all()
        assert [p.label for p in found] == ["a", "b"] and found[0].id == found[1].id - 1
        session.delete(found[0])
        session.commit()
        assert session.scalar(sa.select(sa.func.count(Parcel.id))) == 1
        session.delete(found[1])
        session.commit()
    engine.dispose()
print("good")
