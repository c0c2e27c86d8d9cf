"""The demonstration: videos of drawn people and drawn face swaps, made from nothing in less than a minute.

It shows that the whole chain runs, on any machine and without a download. **It says nothing about real deepfakes**:
the people are formulas (:mod:`dfd.data.demo.faces`), and the fakes bear a drawn version of the traces of face swaps.

A fake is the video of one person, the *target*, with the inner face of another, the *donor*, drawn in the same pose and
expression and pasted frame by frame: at a lower resolution, without the camera's noise, in a colour that nearly
matches, behind a soft seam, with a jitter in place and brightness. Around the face it is the target's video, value for
value before compression, so that nothing but the face tells them apart.

``python -m dfd.data.demo DIR`` makes ``DIR/videos``, to train on, and ``DIR/inbox``, a folder to score: other people,
and files such as a real folder has, without a face or broken.
"""

import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfd.base.errors import DfdError
from dfd.base.types import FrameArray, Label
from dfd.base.untrusted import read_json
from dfd.data.demo.faces import Portrait
from dfd.data.demo.person import Person
from dfd.data.demo.scenes import Format, Scene, Swap
from dfd.data.sources.manifest import write_manifest
from dfd.data.sources.row import VideoRow
from dfd.video import encode
from dfd.video.encode import VideoWriter

DATASET = "demo"
METHOD = "drawn_swap"
NOTICE = "Drawn by dfd itself to show how it works. It says nothing about real deepfakes."

STAMP = "demo.json"
"""A folder that has it was made here; it says from what, and which files make it complete."""

# The people of the inbox come from another stream of the same seed: no detector has seen them in training.
_TRAINING, _INBOX = 0, 1

OnProgress = Callable[[int, int], None]
"""Called with the number of videos that are finished and of those that will be."""


def tell_nobody(done: int, total: int) -> None:
    """Leave the progress unsaid."""


def make_demo_videos(
    root: str | Path,
    *,
    num_people: int = 96,
    videos_per_person: int = 1,
    seconds: float = 1.0,
    fps: int = 25,
    width: int = 320,
    height: int = 240,
    seed: int = 0,
    on_progress: OnProgress = tell_nobody,
) -> Path:
    """Draw the training set into ``root`` and return the path of its ``manifest.csv``.

    For each video of a person in ``real/`` there is a fake in ``fake/`` that was made from it. People lend their faces
    within pairs only (one group of three if their number is odd), so a split that keeps people apart has
    ``num_people // 2`` groups to distribute. By default there are many people in short videos: a detector that has seen
    few people calls strangers wrong, however long their videos were. The same arguments give the same bytes. A set that
    is complete is left alone, one that was made from other arguments is replaced, and an interrupted run leaves no
    ``root``.

    Raises:
        ValueError: an argument is out of range.
        DfdError: ``root`` holds something else.
    """
    if num_people < 2:
        raise ValueError(f"num_people must be 2 or more, for a swap takes two; got {num_people}")
    if videos_per_person < 1:
        raise ValueError(f"videos_per_person must be 1 or more, got {videos_per_person}")
    video = Format(seconds=seconds, fps=fps, width=width, height=height)

    def build(folder: Path) -> None:
        portraits = [portrait_of(seed, _TRAINING, person) for person in range(num_people)]
        rows: list[VideoRow] = []
        for target, donor in enumerate(_donors(num_people)):
            for take in range(videos_per_person):
                generator = np.random.default_rng([seed, _TRAINING, target, take])
                scene = Scene.compose([portraits[target]], video, generator)
                swap = Swap.between(portraits[target], portraits[donor], video, generator)
                real = f"real/person{target:02d}_{take}.mp4"
                fake = f"fake/person{target:02d}_{take}_as_person{donor:02d}.mp4"
                film(scene, {folder / real: {}, folder / fake: {0: swap}})
                people = (f"{DATASET}_person{target:02d}", f"{DATASET}_person{donor:02d}")
                rows += [
                    VideoRow(folder / real, real, Label.REAL, DATASET, "", people[:1]),
                    VideoRow(folder / fake, fake, Label.FAKE, DATASET, METHOD, people),
                ]
                on_progress(len(rows), 2 * num_people * videos_per_person)
        write_manifest(folder / "manifest.csv", rows)
        write_readme(folder, ["manifest.csv lists the videos; dfd.preprocess and train.py read it."])

    recipe = {"set": "videos", "num_people": num_people, "videos_per_person": videos_per_person}
    return make_once(Path(root), {**recipe, **recipe_of(video, seed)}, build) / "manifest.csv"


def make_demo_inbox(
    root: str | Path, *, seconds: float = 3.0, fps: int = 25, seed: int = 0, on_progress: OnProgress = tell_nobody
) -> Path:
    """Draw a folder to score into ``root`` and return it: people of no training set, and files that have no score.

    Its ``README.txt``, itself no video, says what each file is. It is left alone, replaced or refused as a training
    set is.

    Raises:
        ValueError: an argument is out of range.
        DfdError: ``root`` holds something else.
    """
    video = Format(seconds=seconds, fps=fps)
    films = [  # name, what it is, who is seen from left to right, who lends a face to whom (by place)
        ("real_1.mp4", "a person as filmed", [0], {}),
        ("real_2.mp4", "a person as filmed", [1], {}),
        ("fake_1.mp4", "a person with another's face", [2], {0: 3}),
        ("fake_2.mp4", "a person with another's face", [3], {0: 2}),
        ("two_people.mp4", "two people; the one on the right has another's face", [4, 5], {1: 4}),
        ("cut_short.mkv", "a person as filmed; the end of the file is lost, the beginning can be read", [1], {}),
    ]
    others = [
        ("no_face.mp4", "a test pattern: no face, so neither real nor fake"),
        ("cut_short.mp4", "the beginning of real_1.mp4, which cannot be read without its end"),
        ("text.mp4", "a text with the name of a video"),
        ("empty.mp4", "nothing at all"),
    ]

    def build(folder: Path) -> None:
        portraits = [portrait_of(seed, _INBOX, person) for person in range(6)]
        for number, (name, _, cast, donors) in enumerate(films):
            generator = np.random.default_rng([seed, _INBOX, *cast])
            form = Format(seconds=seconds, fps=fps, width=160 + 160 * len(cast)) if len(cast) > 1 else video
            scene = Scene.compose([portraits[person] for person in cast], form, generator)
            swaps = {
                place: Swap.between(portraits[cast[place]], portraits[donor], form, generator)
                for place, donor in donors.items()
            }
            film(scene, {folder / name: swaps})
            on_progress(number + 1, len(films) + 1)
        make_faceless_video(folder / "no_face.mp4", seconds=seconds, fps=fps, seed=seed)
        for name, whole in {"cut_short.mp4": "real_1.mp4", "cut_short.mkv": "cut_short.mkv"}.items():
            data = (folder / whole).read_bytes()
            (folder / name).write_bytes(data[: len(data) * 6 // 10])
        (folder / "text.mp4").write_text("This is a text.\n", encoding="utf-8")
        (folder / "empty.mp4").touch()
        write_readme(folder, [f"{name:16}{what}" for name, what in [*(film[:2] for film in films), *others]])
        on_progress(len(films) + 1, len(films) + 1)

    return make_once(Path(root), {"set": "inbox", **recipe_of(video, seed)}, build)


def make_faceless_video(
    path: str | Path, *, seconds: float = 3.0, fps: int = 25, width: int = 320, height: int = 240, seed: int = 0
) -> None:
    """Write an H.264 video in which something moves and nothing is a face: waves over colour bars, and a dot.

    Raises:
        ValueError: an argument is out of range.
    """
    video = Format(seconds=seconds, fps=fps, width=width, height=height)
    phase = np.random.default_rng([seed, _INBOX]).uniform(0, 1)
    x, y = np.arange(width)[None, :] / width, np.arange(height)[:, None] / height
    bars = np.array([[190, 190, 190], [190, 190, 20], [20, 190, 190], [20, 190, 20], [190, 20, 190], [20, 20, 190]])
    base = bars[np.minimum((x * len(bars)).astype(int), len(bars) - 1)[0]][None]
    with _writer(Path(path), video) as writer:
        for time in np.arange(video.num_frames) / fps + phase:
            waves = 0.75 + 0.25 * np.sin(2 * np.pi * (3 * x + 2 * y - time))
            dot = np.hypot((x - 0.5 - 0.35 * np.sin(2 * time)) * width / height, y - 0.5) < 0.06
            writer.write(_frames(np.where(dot[..., None], 250, base * waves[..., None])))


def _donors(num_people: int) -> list[int]:
    """Who lends a face to each person: pairs swap, and of an odd number the last three go round.

    >>> _donors(4), _donors(5)
    ([1, 0, 3, 2], [1, 0, 3, 4, 2])
    """
    donors = [person ^ 1 for person in range(num_people)]
    if num_people % 2:
        donors[-3:] = [num_people - 2, num_people - 1, num_people - 3]
    return donors


def portrait_of(seed: int, cast: int, person: int) -> Portrait:
    """The face of a person, who is another for another ``seed``, ``cast`` or number."""
    return Portrait(Person.invent(np.random.default_rng([seed, cast, person])))


def recipe_of(video: Format, seed: int) -> dict[str, object]:
    """What decides the content, the code that draws included: a new version of it makes new videos."""
    code = hashlib.sha256()
    for path in [*sorted(Path(__file__).parent.glob("*.py")), Path(encode.__file__)]:
        code.update(path.read_bytes())
    return {**asdict(video), "seed": seed, "code": code.hexdigest()[:16]}


def film(scene: Scene, videos: Mapping[Path, Mapping[int, Swap]]) -> None:
    """Film a scene once and write it to each path, with these swaps done to the actors of these numbers."""
    with ExitStack() as stack:
        writers = {path: stack.enter_context(_writer(path, scene.video)) for path in videos}
        for index, picture in enumerate(scene.frames()):
            for path, swaps in videos.items():
                forged = picture
                for number, swap in swaps.items():
                    forged = swap.apply(forged, scene, scene.actors[number], index)
                writers[path].write(_frames(forged))


def film_takes(scene: Scene, takes: Sequence[Path]) -> None:
    """Film a scene once and cut the recording into takes of equal length (a frame may be left over at the end)."""
    num_frames = scene.video.num_frames // len(takes)
    frames = scene.frames()
    for path in takes:
        with _writer(path, scene.video) as writer:
            for picture in itertools.islice(frames, num_frames):
                writer.write(_frames(picture))


def _writer(path: Path, video: Format) -> VideoWriter:
    """Write a video as phones and platforms do: 4:2:0, good but lossy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    form: dict[str, Any] = {"width": video.width, "height": video.height, "fps": video.fps}
    lossy: dict[str, Any] = {"crf": 20, "pixel_format": "yuv420p", "keyframe_interval": 50, "preset": "superfast"}
    return VideoWriter(path, **form, **lossy, fast_decode=False)


def _frames(picture: NDArray[Any]) -> FrameArray:
    """One picture (H, W, 3) of any number type as an array of one frame."""
    pixels: FrameArray = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return pixels[None]


def write_readme(folder: Path, lines: Sequence[str]) -> None:
    """Leave a text beside drawn videos that says what they are."""
    (folder / "README.txt").write_text("\n".join([NOTICE, "", *lines, ""]), encoding="utf-8")


def make_once(root: Path, recipe: Mapping[str, object], build: Callable[[Path], None]) -> Path:
    """Have ``build`` fill ``root``, unless that is done already; all of it appears there at once.

    Raises:
        DfdError: ``root`` is a file, or holds something that was not made here.
    """
    root = Path(os.path.abspath(root.expanduser()))
    if _is_complete(root, recipe):
        return root
    _refuse_foreign(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        build(made)
        files = {p.relative_to(made).as_posix(): p.stat().st_size for p in sorted(made.rglob("*")) if p.is_file()}
        stamp = {"notice": NOTICE, "recipe": recipe, "bytes": files}
        (made / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
        # Another process may have made the same set meanwhile.
        if not _is_complete(root, recipe):
            _refuse_foreign(root)
            if root.exists():
                root.rename(Path(temporary) / "replaced")
            made.rename(root)
    return root


def _is_complete(root: Path, recipe: Mapping[str, object]) -> bool:
    """True if ``root`` was made from ``recipe`` and still has all its files, in their sizes."""
    try:
        stamp = read_json(root / STAMP)
        return stamp["recipe"] == recipe and all(
            (root / name).stat().st_size == size for name, size in stamp["bytes"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def drawn_seed(root: Path) -> int:
    """Seed that the demonstration set in ``root`` was drawn from; 0 where there is none."""
    try:
        return int(read_json(root / STAMP)["recipe"]["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _refuse_foreign(root: Path) -> None:
    if root.exists() and (not root.is_dir() or (any(root.iterdir()) and not (root / STAMP).is_file())):
        raise DfdError(f"{root}: exists and was not made by dfd.data.demo; choose another folder or remove it")
