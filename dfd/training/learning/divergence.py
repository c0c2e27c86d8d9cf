"""Error for a diverged training, whose loss is no longer finite and cannot recover."""

from dfd.base.errors import RunDiverged

MAX_STEPS_NOT_FINITE = 10
"""Number of consecutive steps without a finite loss after which a run counts as diverged.

Single ones are normal: with ``16-mixed``, gradients overflow in the first steps until their scale is found, and these
steps are skipped.
"""


def diverged(what: str, *, step: int, rate: float, clips_gradients: bool, precision: str) -> RunDiverged:
    """Build the error that ends a run, with remedies.

    >>> print(diverged("the loss", step=7, rate=0.5, clips_gradients=True, precision="32-true"))
    diverged: the loss is not finite since step 7, at a learning rate of 0.5; try a lower optimizer.lr (a tenth)

    Args:
        what: quantity that is not finite, such as ``the training loss``.
        step: optimizer step at which that was first seen, counted from 1.
        rate: learning rate at that step.
        clips_gradients: whether the run limits the norm of its gradients.
        precision: precision of the run, as Lightning names it.
    """
    remedies = ["a lower optimizer.lr (a tenth)"]
    if not clips_gradients:
        remedies.append("trainer.gradient_clip_val=1.0")
    if precision != "32-true":
        remedies.append(f"trainer.precision=32-true (it is {precision})")
    return RunDiverged(
        f"diverged: {what} is not finite since step {step}, at a learning rate of {rate:g}; try {' or '.join(remedies)}"
    )
