"""The Django application."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    """Jobs, their queue and their pages."""

    name = "dfd.web"
    label = "web"
    verbose_name = "dfd"
    default_auto_field = "django.db.models.BigAutoField"
