"""Settings of the tests: the real ones, with a key of their own, and no folder but the one that a test gives."""

import os
import tempfile

for name in [name for name in os.environ if name.startswith("DFD_WEB_")]:
    del os.environ[name]
os.environ["DFD_WEB_SECRET_KEY"] = "of the tests, and of nothing else, 50 characters long"
os.environ["DFD_WEB_HTTPS"] = "false"
os.environ["DFD_WEB_ADMIN"] = "true"
os.environ["DFD_WEB_DATA"] = "/nowhere/dfd-web"
# The same tests on PostgreSQL: DFD_TEST_DATABASE_URL=postgres://user@host/name pytest tests/web
os.environ["DFD_WEB_DATABASE_URL"] = os.environ.get("DFD_TEST_DATABASE_URL", "")

from dfd.web.settings import *  # noqa: E402, F403

ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
if not os.environ["DFD_WEB_DATABASE_URL"]:
    # A file and not memory: threads have connections of their own.
    DATABASES["default"]["TEST"] = {  # noqa: F405
        "NAME": os.path.join(tempfile.gettempdir(), f"dfd-web-tests-{os.getpid()}.sqlite3")
    }
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
