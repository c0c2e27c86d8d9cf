"""Pictures and boxes of scored videos: evidence of the most suspicious moments, and heat over a face."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfd.base.types import FloatArray, FrameArray, VideoScore
from dfd.faces.crop.base import opencv
from dfd.predictions.layout import ANNOTATED_NAME, EVIDENCE_NAME
from dfd.predictions.rows import PredictionsError

JPEG_QUALITY = 88
BOXES_NAME = "boxes.npz"
MAX_BOXES_BYTES = 2**28
"""Bytes of a video's boxes, unpacked: eight faces over ten hours at 30 a second take 207 MB."""


MAX_OPACITY = 0.65
"""Opacity of the hottest place: the face below must stay visible."""


def overlay(crop: FrameArray, heatmap: FloatArray) -> FrameArray:
    """``crop`` ``(S, S, 3)`` with ``heatmap`` ``(S, S)`` in 0..1 over it; where there is no heat the crop is as it was.

    The colours (viridis, OpenCV's copy) rise in lightness, so that they read without colour vision, too, and go through
    green, which skin of no tone is near to.

    Raises:
        ValueError: the two differ in size.
    """
    if crop.shape[:2] != heatmap.shape:
        raise ValueError(f"crop and heatmap must be of one size, got {crop.shape[:2]} and {heatmap.shape}")
    heat = np.clip(heatmap, 0, 1)[..., None]
    shades = np.rint(255 * (0.2 + 0.8 * heat[..., 0])).astype(np.uint8)
    colors = opencv().applyColorMap(shades, opencv().COLORMAP_VIRIDIS)[..., ::-1]  # BGR
    opacity = MAX_OPACITY * heat
    return np.asarray(np.rint(crop * (1 - opacity) + colors * opacity), np.uint8)


def read_boxes(folder: Path, path: str) -> dict[int, tuple[NDArray[np.int64], FloatArray]] | None:
    """The boxes of a video's faces, if they were asked for: by track, frame indices (F,) and boxes (F, 4).

    Raises:
        PredictionsError: the file is damaged, or far larger than boxes are.
    """
    file = folder / evidence_place(path) / BOXES_NAME
    if not file.is_file():
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(item.file_size for item in archive.infolist()) > MAX_BOXES_BYTES:
                raise ValueError(f"unpacked it has more than {MAX_BOXES_BYTES} bytes")
        with np.load(file, allow_pickle=False) as arrays:
            tracks = sorted({int(name.partition("-")[2]) for name in arrays.files})
            return {track: (arrays[f"frames-{track}"], arrays[f"boxes-{track}"]) for track in tracks}
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        remedy = "run predict.py again with annotate=true"
        raise PredictionsError(f"{file}: the boxes cannot be read ({reason}); {remedy}") from error


def write_evidence(score: VideoScore, folder: Path) -> dict[str, Any]:
    """Save a score's pictures below ``folder``; their names in it, as ``predictions.jsonl`` has them.

    Boxes for an annotated video go beside them, for :func:`read_boxes`.

    ``{"thumbnail": name or None, "moments": [{"track", "window", "seconds", "prob_fake", "crop", "heatmap",
    "frame"}]}``, where ``heatmap`` is the crop with the heat over it, and ``frame`` the whole frame with the box;
    either may be None.
    """
    place = evidence_place(score.path)
    value: dict[str, Any] = {"thumbnail": None, "moments": []}
    if score.thumbnail is not None:
        value["thumbnail"] = _save_jpeg(score.thumbnail, folder, f"{place}/thumbnail.jpg")
    for number, moment in enumerate(score.moments):
        names: dict[str, str | None] = {"heatmap": None, "frame": None}
        names["crop"] = _save_jpeg(moment.crop, folder, f"{place}/moment-{number}.jpg")
        if moment.heatmap is not None:
            heated = overlay(moment.crop, moment.heatmap)
            names["heatmap"] = _save_jpeg(heated, folder, f"{place}/moment-{number}-heatmap.jpg")
        if moment.frame is not None:
            names["frame"] = _save_jpeg(moment.frame, folder, f"{place}/moment-{number}-frame.jpg")
        facts = {name: getattr(moment, name) for name in ("track", "window", "seconds", "prob_fake")}
        value["moments"].append(facts | names)
    if score.boxes:
        arrays: dict[str, Any] = {f"frames-{track}": frames for track, (frames, _) in score.boxes.items()}
        arrays |= {f"boxes-{track}": boxes for track, (_, boxes) in score.boxes.items()}
        (folder / place).mkdir(parents=True, exist_ok=True)
        np.savez(folder / place / BOXES_NAME, **arrays)
    return value


def evidence_place(path: str) -> str:
    """Where the pictures of a video lie, relative to the output folder: a name that no file name can break out of.

    >>> evidence_place("../../etc/passwd")
    'evidence/3754d6cb3a38e118'
    """
    return f"{EVIDENCE_NAME}/{hashlib.sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def annotated_files(folder: Path, path: str) -> list[Path]:
    """Annotated videos and pictures of the file ``path`` in the output folder, of which there is one at most."""
    digest = evidence_place(path).rpartition("/")[2][:8]
    return sorted(drawn for suffix in ("mp4", "jpg") for drawn in folder.glob(f"{ANNOTATED_NAME}/*-{digest}.{suffix}"))


def _save_jpeg(picture: FrameArray, folder: Path, name: str) -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / name, quality=JPEG_QUALITY)
    return name
