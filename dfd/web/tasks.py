"""What the queue's tasks do: one job each."""

from django_tasks import task


@task()
def score(pk: str) -> None:
    """Score the job with this key, in a worker."""
    from dfd.web.worker import score_job

    score_job(pk)
