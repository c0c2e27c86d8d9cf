"""A disturbance keeps a clip's shape, moves it further at each level, and does the same each time."""

import copy

import av
import pytest
import torch
from av.codec.codec import UnknownCodecError

from dfd.base.errors import DisturbanceError
from dfd.data.augment.chains import CHAINS, Chain
from dfd.data.augment.changes import dropped, held, mirror_cropped, resized
from dfd.data.augment.disturbances import DISTURBANCES, NUM_LEVELS, Disturb, chosen
from dfd.data.augment.overlays import overlaid
from dfd.data.augment.recode import CODECS, recode
from tests.conftest import drawn_frames

NAMES = list(DISTURBANCES)


def moving(num_frames: int = 6, side: int = 64) -> torch.Tensor:
    """A clip with patches, edges and some grain, (T, 3, side, side)."""
    frames = torch.from_numpy(drawn_frames(3, num_frames=num_frames, side=side))
    return frames.permute(0, 3, 1, 2).contiguous()


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float() - b.float()).abs().mean())


def high_frequencies(frames: torch.Tensor) -> float:
    """Energy of the upper half of the spectrum along rows."""
    spectrum = torch.fft.rfft(frames.float(), dim=-1).abs().square()
    return float(spectrum[..., spectrum.shape[-1] // 2 :].mean())


@pytest.mark.parametrize("name", NAMES)
def test_each_level_is_further_from_the_clip_than_the_one_before(name: str) -> None:
    clip = moving(num_frames=24 if name.startswith("frame_") else 6)
    before = clip.clone()
    levels = [Disturb(name, level)(clip, "anna") for level in range(NUM_LEVELS + 1)]
    assert all(level.shape == clip.shape and level.dtype == torch.uint8 for level in levels)
    assert torch.equal(levels[0], clip)
    # A mirrored clip is as far from the clip at every level, so it is compared with its mirror image.
    reference = clip.flip(-1) if name in ("mirror_crop", "reupload") else clip
    distances = [0.0, *(distance(level, reference) for level in levels[1:])]
    assert distances == sorted(distances)
    assert distances[1] > (0.2 if name.startswith("frame_") else 0.5)
    assert len(set(distances)) == len(distances)
    assert torch.equal(clip, before)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_clip_is_disturbed_alike_each_time_whatever_the_global_generator(name: str) -> None:
    disturb, clip = Disturb(name, 3), moving()
    torch.manual_seed(1)
    first = disturb(clip, "anna")
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = copy.deepcopy(disturb)(clip, "anna")
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.name)
def test_a_chain_takes_each_step_in_its_order(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def step(name: str) -> object:
        return lambda frames, strength, _: taken.append((name, strength)) or frames  # type: ignore[func-returns-value]

    monkeypatch.setattr("dfd.data.augment.disturbances._STEPS", {name: step(name) for name, _ in chain.steps})
    assert torch.equal(Disturb(chain.name, 2)(moving(), "anna"), moving())
    assert taken == [(name, strengths[1]) for name, strengths in chain.steps]


def test_a_chain_has_two_to_four_steps_and_a_version_that_tells_them() -> None:
    with pytest.raises(ValueError, match="alone must have 2 to 4 steps, got 1"):
        Chain("alone", (("blur", (1, 2, 3, 4, 5)),))
    versions = [disturbance.version for disturbance in chosen(None) if disturbance.version]
    assert len(set(versions)) == len(versions) == len(CHAINS)


def test_a_lower_rate_holds_frames_and_keeps_their_number() -> None:
    clip = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    assert held(clip, 1)[:, 0, 0, 0].tolist() == list(range(10))
    assert held(clip, 0.8)[:, 0, 0, 0].tolist() == [0, 1, 2, 2, 4, 5, 6, 8, 8, 9]
    assert held(clip, 0.2)[:, 0, 0, 0].tolist() == [0, 0, 0, 5, 5, 5, 5, 5, 9, 9]


def test_a_lost_frame_shows_the_one_before_and_stays_lost_at_higher_levels() -> None:
    clip = torch.arange(200, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 1, 1)
    shown = [dropped(clip, p, torch.Generator().manual_seed(1))[:, 0, 0, 0].int() for p in (0.2, 0.5)]
    lost = [frames != torch.arange(200) for frames in shown]
    assert [round(float(each.float().mean()), 1) for each in lost] == [0.2, 0.5]
    assert not (lost[0] & ~lost[1]).any()
    assert all((frames.diff() >= 0).all() for frames in shown)
    assert all(frames[0] == 0 for frames in shown)


def test_a_mirrored_crop_is_a_part_of_the_mirror_image() -> None:
    clip = moving()
    assert torch.equal(mirror_cropped(clip, 1.0), clip.flip(-1))
    ramp = torch.arange(64, dtype=torch.uint8).expand(1, 3, 64, 64)
    row = mirror_cropped(ramp, 0.25, torch.Generator().manual_seed(0))[0, 0, 0].int()
    assert (row.diff() <= 0).all()
    assert int(row[0] - row[-1]) == pytest.approx(31, abs=1)


@pytest.mark.parametrize("side", [(32, 32), (64, 48), (112, 112)])
def test_drawings_cover_about_their_share_alike_in_all_frames(side: tuple[int, int]) -> None:
    still = torch.full((3, 3, *side), 128, dtype=torch.uint8)
    for seed in range(8):
        drawn = overlaid(still, 0.3, torch.Generator().manual_seed(seed))
        assert (drawn == drawn[:1]).all()
        covered = float((drawn[0] != 128).any(dim=0).float().mean())
        assert 0.15 < covered < 0.5
    assert torch.equal(overlaid(still, 0), still)
    drawings = [overlaid(still, 0.3, torch.Generator().manual_seed(seed)) for seed in range(4)]
    assert len({drawing.numpy().tobytes() for drawing in drawings}) == 4


def test_noise_is_of_the_clip_and_the_same_at_every_level() -> None:
    grey = torch.full((2, 3, 32, 32), 128, dtype=torch.uint8)
    weak, strong = (Disturb("noise", level)(grey, "anna").float() - 128 for level in (1, 3))
    assert torch.corrcoef(torch.stack([weak.flatten(), strong.flatten()]))[0, 1] > 0.99
    assert not torch.equal(Disturb("noise", 1)(grey, "anna"), Disturb("noise", 1)(grey, "bert"))
    assert strong.std() == pytest.approx(12, rel=0.05)
    assert distance(strong[0], strong[1]) > 5


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_takes_detail_away(codec: str) -> None:
    clip = moving(side=96)
    kept = [high_frequencies(recode(clip, codec=codec, crf=crf)) / high_frequencies(clip) for crf in (10, 30, 50)]
    assert kept[0] > kept[1] > kept[2]
    assert kept[0] > 0.8
    assert kept[2] < 0.5


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("num_frames", "height", "width"), [(1, 32, 32), (3, 15, 37), (7, 18, 24), (20, 112, 112)])
def test_every_frame_comes_back_in_its_place(codec: str, num_frames: int, height: int, width: int) -> None:
    level = torch.linspace(30, 220, num_frames).round()
    clip = level[:, None, None, None].expand(-1, 3, height, width).to(torch.uint8)
    again = recode(clip, codec=codec, crf=18)
    assert again.shape == clip.shape
    assert again.is_contiguous()
    assert again.float().mean(dim=(1, 2, 3)).sub(level).abs().max() < 3


@pytest.mark.parametrize("codec", CODECS)
def test_colours_come_back(codec: str) -> None:
    colors = torch.tensor([[200, 40, 40], [40, 200, 40], [40, 40, 200], [230, 230, 230]], dtype=torch.uint8)
    clip = colors[:, :, None, None].expand(-1, -1, 32, 32).contiguous()
    assert distance(recode(clip, codec=codec, crf=5), clip) < 2.5


def test_a_clip_is_encoded_at_the_size_that_it_is_made_smaller_to() -> None:
    clip = moving()
    small = resized(clip, 0.25)
    assert high_frequencies(small) < 0.2 * high_frequencies(clip)
    encoded = resized(clip, 0.25, codec="h264", crf=35)
    assert distance(encoded, small) > 0.5
    assert torch.equal(resized(clip, 1.0), clip)


def test_a_missing_encoder_is_named_before_work_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    create = av.CodecContext.create

    def lacking(name: str, mode: str) -> object:
        if name == "libx265":
            raise UnknownCodecError(1, "x")
        return create(name, mode)

    monkeypatch.setattr(av, "CodecContext", type("Context", (), {"create": staticmethod(lacking)}))
    with pytest.raises(DisturbanceError, match="no encoder libx265"):
        chosen(None)
    with pytest.raises(DisturbanceError, match="no encoder libx265"):
        recode(moving(), codec="hevc", crf=30)
    assert [found.name for found in chosen(["blur", "h264"])] == ["blur", "h264"]


def test_a_lost_frame_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfd.data.augment.recode._recode", lambda frames, *_: frames[1:])
    with pytest.raises(DisturbanceError, match="libx264 gave back 5 of 6 frames of 64 x 64 pixels at crf 30"):
        recode(moving(), codec="h264", crf=30)


def test_what_makes_no_sense_is_refused() -> None:
    clip = moving()
    with pytest.raises(ValueError, match="h265"):
        recode(clip, codec="h265", crf=20)
    with pytest.raises(ValueError, match="crf must be from 0 to 51, got 60"):
        recode(clip, codec="h264", crf=60)
    with pytest.raises(ValueError, match="must be uint8"):
        recode(clip.float(), codec="h264", crf=20)
    with pytest.raises(ValueError, match="scale"):
        resized(clip, 0.0)
    for change, value in ((held, 0), (dropped, 1), (mirror_cropped, 1.1), (overlaid, 0.95)):
        with pytest.raises(ValueError, match=f"got {value}"):
            change(clip, value)
    with pytest.raises(ValueError, match="got fog"):
        chosen(["blur", "fog"])
    with pytest.raises(ValueError, match="got none"):
        chosen([])
    with pytest.raises(ValueError, match="from 0 to 5"):
        Disturb("blur", 6)(clip, "anna")
