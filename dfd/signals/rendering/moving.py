"""Statistics over time: flicker, lag, what noise keeps from frame to frame, and how parts of a frame move together.

A camera's noise is new in each frame, and its light changes everywhere at once; what a network draws frame by frame, or
moves as a picture, differs from that in the face alone. Frames are aligned by the face's shift.
"""

from itertools import pairwise

import cv2
import numpy as np

from dfd.signals.rendering.regions import (
    NAMES,
    REGIONS,
    SIDE,
    SMALL_REGIONS,
    Array,
    Statistics,
    against,
    correlation,
    filtered,
    log,
    means,
    smoothed,
)
from dfd.signals.rendering.still import RESIDUAL

LEAST_FRAMES = 8
"""Frames without which nothing is measured over time."""
LARGEST_SHIFT = 8
"""Pixels between two frames beyond which no shift is believed: a cut, or a wrong match."""
STILL = 1.5
"""Grey levels up to which a pixel counts as unchanged."""
LEAST_MOTION = 0.02
"""Pixels a frame, at half the side, that are added before a logarithm."""
LAGS = (1, 2)
COMPARED = (("face", "background"), ("face", "ring"), ("mouth", "cheeks"), ("eyes", "cheeks"))
"""Regions whose changes are correlated."""


def moving_statistics(light_THW: Array) -> Statistics:
    """Compute the statistics of consecutive frames, brightness in grey levels ``(T, SIDE, SIDE)``."""
    residual_THW = filtered(light_THW, RESIDUAL)
    aligned_THW, before_THW = _aligned(light_THW, residual_THW)
    change_THW = light_THW[1:] - aligned_THW
    rest = REGIONS["background"]
    change_THW[:, rest] = light_THW[1:][:, rest] - light_THW[:-1][:, rest]
    return {
        **_persistence(residual_THW, before_THW),
        **_change(change_THW, residual_THW),
        **_flicker(light_THW, residual_THW),
        **_motion(light_THW),
        **_stillness(np.diff(light_THW, axis=0)),
    }


def _aligned(light_THW: Array, residual_THW: Array) -> tuple[Array, Array]:
    """Frames and their residuals, all but the last, moved to where the face is in the following frame."""
    window_HW = cv2.GaussianBlur(REGIONS["face"].astype(np.float32), (0, 0), 4)
    seen_THW = smoothed(light_THW, 1.0) * window_HW
    moved: list[list[Array]] = [[], []]
    for place in range(len(light_THW) - 1):
        (right, down), _ = cv2.phaseCorrelate(seen_THW[place], seen_THW[place + 1])
        if max(abs(right), abs(down)) >= LARGEST_SHIFT:
            right = down = 0.0
        matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
        for kept, maps_THW in zip(moved, (light_THW, residual_THW), strict=True):
            kept.append(
                np.asarray(
                    cv2.warpAffine(maps_THW[place], matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT), np.float32
                )
            )
    return np.stack(moved[0]), np.stack(moved[1])


def _persistence(residual_THW: Array, before_THW: Array) -> Statistics:
    """How much of a frame's residual the next frame has at the same place of the face."""
    kept = {}
    for name, mask in REGIONS.items():
        earlier_THW = residual_THW[:-1] if name == "background" else before_THW
        pairs = zip(earlier_THW[:, mask], residual_THW[1:, mask], strict=True)
        kept[name] = float(np.median([correlation(one, other) for one, other in pairs]))
    return {**against("persistence", kept), "persistence(face)": kept["face"]}


def _change(change_THW: Array, residual_THW: Array) -> Statistics:
    """Size of the changes between aligned frames, how they vary, and which regions change together."""
    size = means(np.abs(change_THW))
    fine = means(np.abs(change_THW - smoothed(change_THW, 1.4)))
    in_space = means(np.abs(residual_THW))
    found = {
        **against("change", {name: log(size[name].mean()) for name in NAMES}),
        **against("middle_change", {name: log(np.median(size[name])) for name in NAMES}),
        **against("fine_change", {name: log(fine[name].mean()) for name in NAMES}),
        **against("spread_of_change", {name: log(size[name].std()) - log(size[name].mean()) for name in NAMES}),
        **against("time_to_space", {name: log(fine[name].mean()) - log(in_space[name].mean()) for name in NAMES}),
    }
    for one, other in COMPARED:
        found[f"changes_together({one}, {other})"] = correlation(size[one], size[other])
    for name in ("face", "mouth", "background"):
        found[f"roughness({name})"] = float(log(np.abs(np.diff(size[name])).mean()) - log(size[name].std()))
    return found


def _flicker(light_THW: Array, residual_THW: Array) -> Statistics:
    """Changes of brightness and of sharpness, and which regions have them together."""
    mean, sharpness = means(light_THW), {name: log(values) for name, values in means(np.abs(residual_THW)).items()}
    found = {
        **against("flicker", {name: log(np.abs(np.diff(mean[name], 2)).mean()) for name in NAMES}),
        **against("sharpness_flicker", {name: log(np.abs(np.diff(sharpness[name])).mean()) for name in NAMES}),
    }
    for one, other in COMPARED:
        found[f"light_together({one}, {other})"] = correlation(np.diff(mean[one]), np.diff(mean[other]))
        found[f"sharpness_together({one}, {other})"] = correlation(np.diff(sharpness[one]), np.diff(sharpness[other]))
    return found


def _motion(light_THW: Array) -> Statistics:
    """Optical flow: speed, jerk and bending of the regions, and which of them moves with or behind which."""
    half = SIDE // 2
    small = [cv2.resize(one, (half, half), interpolation=cv2.INTER_AREA).astype(np.uint8) for one in light_THW]
    start = np.zeros((half, half, 2), np.float32)
    flow_THW2 = np.stack(
        [
            cv2.calcOpticalFlowFarneback(one, other, start.copy(), 0.5, 2, 11, 2, 5, 1.1, 0)
            for one, other in pairwise(small)
        ]
    )
    inside = {name: flow_THW2[:, mask] for name, mask in SMALL_REGIONS.items()}
    moves = {name: flow.mean(axis=1) for name, flow in inside.items()}
    speed = {name: np.log(np.hypot(*np.moveaxis(flow, 2, 0)).mean() + LEAST_MOTION) for name, flow in inside.items()}
    found = against("speed", speed)
    for one, other in (*COMPARED, ("ring", "background")):
        found[f"moves_with({one}, {other})"] = _together(moves[one], moves[other])
        for lag in LAGS:
            behind, ahead = (
                _together(moves[one][lag:], moves[other][:-lag]),
                _together(moves[one][:-lag], moves[other][lag:]),
            )
            found[f"lag_{lag}({one}, {other})"] = behind - ahead
    for name in ("face", "mouth", "ring", "background"):
        flow, move = inside[name], moves[name]
        bent = np.abs(flow - move[:, None]).mean() + LEAST_MOTION
        found[f"bending({name})"] = float(np.log(bent / (np.abs(flow).mean() + LEAST_MOTION)))
        jerk = np.abs(np.diff(move, axis=0)).mean() + LEAST_MOTION
        found[f"jerk({name})"] = float(np.log(jerk / (np.abs(move).mean() + LEAST_MOTION)))
        found[f"steadiness({name})"] = _together(move[1:], move[:-1])
    return found


def _together(one_T2: Array, other_T2: Array) -> float:
    """Mean correlation of two motions, across and down."""
    return float(np.mean([correlation(one_T2[:, axis], other_T2[:, axis]) for axis in (0, 1)]))


def _stillness(change_THW: Array) -> Statistics:
    """Share of unchanged pixels of the background, and how much larger that of the face is."""
    still = {name: float((np.abs(change_THW[:, REGIONS[name]]) < STILL).mean()) for name in ("face", "background")}
    return {"still(background)": still["background"], "still(face/background)": still["face"] - still["background"]}
