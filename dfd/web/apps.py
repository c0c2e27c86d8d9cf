"""Configuration of the Django application."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    """Application for jobs, their queue and their pages."""

    name = "dfd.web"
    label = "web"
    verbose_name = "dfd"
    default_auto_field = "django.db.models.BigAutoField"
