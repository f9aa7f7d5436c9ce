"""Django's own applications: up, some of the way down, up again; with rows in between."""

from __future__ import annotations

import sys

import django
from django.conf import settings

APPS = ("contenttypes", "auth", "admin", "sessions", "sites", "redirects", "flatpages")

settings.configure(
    INSTALLED_APPS=[f"django.contrib.{app}" for app in APPS],
    SITE_ID=1,
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": sys.argv[1],
            "PORT": int(sys.argv[2]),
            "NAME": sys.argv[3],
            "USER": sys.argv[4],
        }
    },
)
django.setup()

from django.contrib.auth.models import Group, User
from django.contrib.sites.models import Site
from django.core.management import call_command

call_command("migrate", verbosity=0)
ann = User.objects.create_user("ann", password="secret")
ann.groups.add(Group.objects.create(name="x" * 80))
Site.objects.create(domain="a.example", name="a")
call_command("migrate", "auth", "0005", verbosity=0)
call_command("migrate", "admin", "zero", verbosity=0)
call_command("migrate", verbosity=0)
assert User.objects.get(username__startswith="a").check_password("secret")
assert Group.objects.get().name == "x" * 80
assert [site.domain for site in Site.objects.order_by("id")] == ["example.com", "a.example"]
print("good")
