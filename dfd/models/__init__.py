"""Networks: a backbone per frame, a head over time, a classifier."""
