"""What an HTTP server loads: ``gunicorn dfd.web.wsgi``."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dfd.web.settings")
application = get_wsgi_application()
