"""URLs of the pages and the API."""

from django.contrib import admin
from django.urls import path, re_path
from django.views.generic import RedirectView

from dfd.web.admin import throttled_login
from dfd.web.models import options
from dfd.web.pages import batches, drawn, views
from dfd.web.pages.answers import no_such_operation
from dfd.web.pages.api import api

urlpatterns = [
    path("", views.upload, name="upload"),
    path("may-upload", views.may_upload, name="may-upload"),
    path("jobs/", views.history, name="history"),
    path("jobs/delete-all", views.delete_all, name="delete-all"),
    path("jobs/<uuid:pk>/", views.job_page, name="job"),
    path("jobs/<uuid:pk>/state", views.job_state, name="job-state"),
    path("jobs/<uuid:pk>/report.html", views.report, name="report"),
    path("jobs/<uuid:pk>/result.json", views.result, name="result"),
    path("jobs/<uuid:pk>/annotated", drawn.annotated, name="annotated"),
    path("jobs/<uuid:pk>/delete", views.delete, name="delete"),
    path("jobs/<uuid:pk>/retry", views.retry, name="retry"),
    path("jobs/<uuid:pk>/look-again", batches.look_again, name="look-again"),
    path("batches/<uuid:pk>/", batches.batch_page, name="batch"),
    path("batches/<uuid:pk>/predictions.csv", batches.batch_csv, name="batch-csv"),
    path("batches/<uuid:pk>/report.html", batches.batch_report, name="batch-report"),
    path("about/", views.about, name="about"),
    path("about/api/", views.api_page, name="api"),
    path("api/", api.urls),
    re_path("^api/", no_such_operation),
    path("health", views.health, name="health"),
    path("robots.txt", views.robots, name="robots"),
    path("favicon.ico", RedirectView.as_view(url="/static/web/logo.svg")),  # pages that name no icon of their own
]
if options().admin:
    urlpatterns += [path("admin/login/", throttled_login), path("admin/", admin.site.urls)]
handler400, handler403 = "dfd.web.pages.answers.bad_request", "dfd.web.pages.answers.permission_denied"
handler404, handler500 = "dfd.web.pages.answers.not_found", "dfd.web.pages.answers.server_error"
