"""Django's settings, derived from :class:`dfd.web.options.WebOptions`; without a secret key the start fails."""

import os
from pathlib import Path

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from dfd.base.errors import ConfigError
from dfd.web.options import LOOPBACK, WebOptions

try:
    OPTIONS = WebOptions.from_environment(os.environ)
except ConfigError as error:
    raise ImproperlyConfigured(str(error)) from error
if not OPTIONS.secret_key:
    raise ImproperlyConfigured(
        "DFD_WEB_SECRET_KEY is not set. Give all web processes and workers the same 50 random characters, or start "
        "everything on this machine with `python -m dfd.web`, which makes its own key."
    )

SECRET_KEY = OPTIONS.secret_key
DEBUG = False
ALLOWED_HOSTS = list(OPTIONS.hosts)
ROOT_URLCONF = "dfd.web.urls"
WSGI_APPLICATION = "dfd.web.wsgi.application"

INSTALLED_APPS = [
    "django_tasks",
    "django_tasks_db",
    "dfd.web.apps.WebConfig",  # after the others, since its admin unregisters a model of theirs
    "ninja",
    *(f"django.contrib.{app}" for app in ("admin", "auth", "contenttypes", "sessions", "messages", "staticfiles")),
]
MIDDLEWARE = [
    "dfd.web.serve.middleware.LogRequests",
    "django.middleware.security.SecurityMiddleware",
    "dfd.web.serve.middleware.add_headers",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "dfd.web.pages.requests.shared_context",
            ]
        },
    }
]

if OPTIONS.database_url:
    DATABASES = {"default": dj_database_url.parse(OPTIONS.database_url)}
    if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
        # The threads of a process share these connections, and wait for a free one.
        DATABASES["default"]["OPTIONS"] = {"pool": {"min_size": 0, "max_size": 8, "timeout": 30}}
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(OPTIONS.data / "dfd.sqlite3"),
            # Readers do not wait for a writer, and writers queue up instead of failing.
            "OPTIONS": {
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
                "transaction_mode": "IMMEDIATE",
                "timeout": 30,
            },
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default"]}}
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
# Styles and scripts of the pages and the report are served from the package, without collectstatic.
STATICFILES_DIRS = [("report", Path(__file__).resolve().parents[1] / "report" / "templates" / "css")]
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 3600

# Only the upload view accepts files, with its own handler.
FILE_UPLOAD_HANDLERS = ["dfd.web.intake.uploads.RefusingUploadHandler"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 100
DATA_UPLOAD_MAX_NUMBER_FILES = 2 * OPTIONS.max_files + 10  # files beyond max_files are refused by name

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = max(3600, int(3600 * OPTIONS.keep_hours))
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = OPTIONS.https
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_AGE = None  # until the browser is closed
CSRF_FAILURE_VIEW = "dfd.web.pages.answers.csrf_failure"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
if OPTIONS.https:
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SECURE_REDIRECT_EXEMPT = [r"^health$"]
    CSRF_TRUSTED_ORIGINS = [f"https://{host}" for host in OPTIONS.hosts if host not in LOOPBACK and host != "*"]
    if OPTIONS.trusted_proxies:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "dfd.web.serve.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "dfd.web": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        # These loggers would write paths, queries and addresses.
        "django.request": {"handlers": [], "level": "CRITICAL", "propagate": False},
        "django.security": {"handlers": [], "level": "CRITICAL", "propagate": False},
        "django.server": {"handlers": [], "propagate": False},
    },
}
