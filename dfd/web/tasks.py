"""Tasks of the queue, one per job."""

from django_tasks import task


def refuse(pk: str) -> None:
    """Refuse a job in a process that is not a worker.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("jobs are scored by `python -m dfd.web worker` only")


do = refuse
"""Function that scores the job with a key; workers replace it by their scorer before they take jobs."""


@task()
def score(pk: str) -> None:
    """Score the job with this key, in a worker."""
    do(pk)
