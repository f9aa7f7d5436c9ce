"""Django: unmanaged model over documents, inspectdb, a server-side iterator."""

import io
import sys

import django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "morph",
            "USER": "morph",
            "HOST": sys.argv[1],
            "PORT": sys.argv[2],
        }
    },
    INSTALLED_APPS=[],
    USE_TZ=True,
)
django.setup()

from django.db import models, transaction


class Order(models.Model):
    order_id = models.BigIntegerField(primary_key=True, db_column="_id")
    status = models.TextField(null=True)
    total = models.DecimalField(max_digits=20, decimal_places=2, null=True)
    city = models.TextField(null=True, db_column="address.city")

    class Meta:
        app_label = "shop"
        managed = False
        db_table = "orders"


assert Order.objects.filter(city="Berlin").count() > 1000
assert Order.objects.get(pk=1).status == "shipped"
assert sum(1 for _ in Order.objects.order_by("pk")[:500].iterator(chunk_size=100)) == 500
with transaction.atomic():
    Order.objects.filter(pk=2).update(city="Oslo")
assert Order.objects.get(pk=2).city == "Oslo"
out = io.StringIO()
call_command("inspectdb", "customers", stdout=out)
assert "class Customers" in out.getvalue(), out.getvalue()
print("good")
