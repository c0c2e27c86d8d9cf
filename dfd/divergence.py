"""A training that has diverged: its loss is not a number any more, and nothing that follows can mend it."""

from dfd.errors import RunDiverged

MAX_STEPS_NOT_FINITE = 10
"""Steps in a row whose loss is not finite, after which a run has diverged. Single ones may pass: with ``16-mixed`` the
gradients of the first steps overflow until their scale is found, and such steps are skipped."""


def diverged(what: str, *, step: int, rate: float, clips_gradients: bool, precision: str) -> RunDiverged:
    """The error that ends a run, with what to try.

    >>> print(diverged("the loss", step=7, rate=0.5, clips_gradients=True, precision="32-true"))
    diverged: the loss is not finite since step 7, at a learning rate of 0.5; try a lower optimizer.lr (a tenth)

    Args:
        what: is not finite, such as ``the training loss``.
        step: of the optimizer, counted from 1, at which it was first seen.
        rate: the learning rate then.
        clips_gradients: whether the run limits the norm of its gradients.
        precision: of the run, as Lightning names it.
    """
    remedies = ["a lower optimizer.lr (a tenth)"]
    if not clips_gradients:
        remedies.append("trainer.gradient_clip_val=1.0")
    if precision != "32-true":
        remedies.append(f"trainer.precision=32-true (it is {precision})")
    return RunDiverged(
        f"diverged: {what} is not finite since step {step}, at a learning rate of {rate:g}; try {' or '.join(remedies)}"
    )
