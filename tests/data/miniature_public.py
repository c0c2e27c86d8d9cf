"""Miniatures of the public data sets that are listed from a description: their folders, names and lists.

Videos are empty files. A sequence is a folder of drawn pictures.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def lay(root: Path, names: Iterable[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def lay_sequence(folder: Path, *, num_frames: int = 2, side: int = 16) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num_frames):
        assert cv2.imwrite(str(folder / f"{index}.png"), np.full((side, side, 3), 20 * index, np.uint8))


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def make_dfdcp(root: Path) -> Path:
    """Persons 11, 12 (train) and 21, 22 (test), each with a video and a fake made with the other's face."""
    entries = {}
    for person, donor, split in (("11", "12", "train"), ("12", "11", "train"), ("21", "22", "test")):
        real = f"original_videos/{person}/{person}_A_001.mp4"
        fake = f"method_A/{person}/{person}_A/{donor}_{person}_A_001.mp4"
        lay(root, (real, fake))
        entries[real] = {"label": "real", "set": split, "target_id": person, "swapped_id": None, "augmentations": []}
        entries[fake] = {"label": "fake", "set": split, "target_id": person, "swapped_id": donor, "augmentations": []}
    write_json(root / "dataset.json", entries)
    return root


def make_fakeavceleb(root: Path) -> Path:
    """Two people; each has the four kinds of video, and a donor who is named in the table or the file."""
    people = (("African/men", "id00076", "id00166"), ("Asian (East)/women", "id00701", "id00702"))
    rows = ["source,target1,target2,method,category,type,race,gender,path,"]
    for place, person, donor in people:
        race, sex = place.split("/")
        kinds = (
            ("RealVideo-RealAudio", "00109.mp4", "-", "real", "A"),
            ("RealVideo-FakeAudio", "00109_fake.mp4", "-", "rtvc", "B"),
            ("FakeVideo-RealAudio", f"00109_1_{donor}_wavtolip.mp4", donor, "wav2lip", "C"),
            ("FakeVideo-FakeAudio", "00109_2.mp4", donor, "fsgan-wav2lip", "D"),
        )
        for kind, file, target, method, category in kinds:
            lay(root, [f"{kind}/{place}/{person}/{file}"])
            where = f"FakeAVCeleb/{kind}/{place}/{person}"
            rows.append(f"{person},{target},-,{method},{category},{kind},{race},{sex},{file},{where}")
    (root / "meta_data.csv").write_text("\n".join(rows) + "\n")
    return root


def make_deeperforensics(root: Path) -> Path:
    for variant in ("end_to_end", "end_to_end_level_1"):
        lay(root, (f"manipulated_videos/{variant}/{name}.mp4" for name in ("000_M101", "001_W004", "002_M005")))
    lay(root, ["source_videos/M101/light_down/angry/camera_front/M101_light_down_angry_camera_front.mp4"])
    for split, names in {"train": ["000_M101.mp4"], "val": ["001_W004.mp4"], "test": ["002_M005.mp4"]}.items():
        path = root / "lists/splits" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names) + "\n")
    return root


def make_ffiw(root: Path) -> Path:
    names = [f"{split}/{number:08}.mp4" for split, count in (("train", 2), ("val", 1)) for number in range(count)]
    return lay(root, (f"{folder}/{name}" for folder in ("source", "target", "target_mask") for name in names))


def make_kodf(root: Path) -> Path:
    """Two people with two videos each, and a fake of each made with the other's face by two methods."""
    people = ("105028", "0b4f7c0d1e2a3b4c5d6e")
    lay(root, (f"original_videos/{person}/{person}_{number:03}.mp4" for person in people for number in (1, 2)))
    for method, code in (("fsgan", 3), ("audio-driven", 5)):
        for person, donor in (people, people[::-1]):
            lay(root, [f"synthesized_videos/{method}/20201203/{person}/{person}_{donor}_{code}_0001.mp4"])
    return root


AV_KINDS = {
    "real.mp4": ("real", None, []),
    "fake_video_real_audio.mp4": ("visual_modified", [[0.48, 1.1200001]], []),
    "fake_video_fake_audio.mp4": ("both_modified", [[2, 2.5], [61, 62.25]], [[2, 3]]),
    "real_video_fake_audio.mp4": ("audio_modified", [], [[2, 3]]),
}


def make_avdeepfake1m(root: Path) -> Path:
    places = {
        "train": ("vox_celeb_2/id00012/21Uxsk56VDQ/00001", "lrs3/talk1/00003"),
        "val": ("silent_videos/subject_7_ab12_vid_0_1", "id00076/21Uxsk56VDQ/00002"),
    }
    for split, folders in places.items():
        entries = []
        for folder in folders:
            for file, (kind, visual, audio) in AV_KINDS.items():
                lay(root, [f"{split}/{folder}/{file}", f"{split}/{folder}/{Path(file).stem}.json"])
                entries.append(
                    {
                        "file": f"{folder}/{file}",
                        "original": "VoxCeleb2/dev/mp4/x.mp4" if kind == "real" else f"{folder}/real.mp4",
                        "split": split,
                        "modify_type": kind,
                        "audio_model": "vits" if audio else None,
                        "video_model": "Talklip" if visual else None,
                        "fake_segments": sorted([*(visual or []), *audio]),
                        "visual_fake_segments": visual or [],
                        "audio_fake_segments": audio,
                        "video_frames": 250,
                        "audio_frames": 160000,
                    }
                )
        write_json(root / f"{split}_metadata.json", entries)
    lay(root, ["test/000000.mp4"])
    (root / "test_files.txt").write_text("000000.mp4\n")
    return root


def make_deepspeak(root: Path) -> Path:
    lay(root, ("deepspeak-0/0-4095.mp4", "deepspeak-0/1-4931.mp4", "deepspeak-1/7-10.mp4"))
    lay(root, ("deepspeak-1/facefusion--0-1--4095-4931--0.mp4", "deepspeak-1/wav2lip--1-7--4931-10--0.mp4"))
    (root / "annotations-real.csv").write_text(
        ",video-file,identity,recording\n0,0-4095.mp4,0,4095\n1,1-4931.mp4,1,4931\n2,7-10.mp4,7,10\n"
    )
    (root / "annotations-fake.csv").write_text(
        ",video-file,kind,engine,identity-source,identity-target,recording-source,recording-target\n"
        "0,facefusion--0-1--4095-4931--0.mp4,face-swap,facefusion,0,1,4095,4931\n"
        "1,wav2lip--1-7--4931-10--0.mp4,lip-sync,wav2lip,1,7,4931,10\n"
    )
    (root / "annotations-split-def.csv").write_text("identity,split\n0,train\n1,train\n7,test\n")
    return root


def make_wilddeepfake(root: Path) -> Path:
    for label in ("real", "fake"):
        for split, sequences in {"train": ("1/0", "1/3", "2/0"), "test": ("1/5",)}.items():
            for sequence in sequences:
                shard, number = sequence.split("/")
                lay_sequence(root / f"{label}_{split}" / shard / label / number)
    return root


def make_df40(root: Path) -> Path:
    """Swaps of both domains with the training half, talking faces, an unknown method with its real pictures."""
    for name in (
        "DF40_train/simswap/frames/000_003",
        "DF40/simswap/ff/frames/005_006",
        "DF40/simswap/cdf/frames/id0_id16_0003",
        "DF40/sadtalker/cdf/frames/id1_0002",
        "DF40/sadtalker/cdf/frames/00170",
        "DF40/heygen/fake/0001",
        "DF40/heygen/real/0001",
    ):
        lay_sequence(root / name)
    (root / "DF40/simswap/ff/landmarks").mkdir()
    return lay(root, ["DF40/fsgan/cdf/videos/id2_id3_0001.mp4"])
