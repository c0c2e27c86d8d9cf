import pytest
import torch

from dfd.models.temporal import TEMPORALS

HEADS = [
    ("lstm", {"hidden_features": 16}),
    ("lstm", {"hidden_features": 16, "reduce": "last"}),
    ("lstm", {"hidden_features": 16, "num_layers": 2, "bidirectional": True, "dropout": 0.1}),
    ("gru", {"hidden_features": 16}),
    ("gru", {"hidden_features": 16, "reduce": "last", "num_layers": 2, "bidirectional": True}),
    ("transformer", {"width": 16, "num_heads": 2}),
    ("mean", {}),
]
ORDERED = [head for head in HEADS if head[0] != "mean"]


def build(name, options, in_features=12):
    torch.manual_seed(0)
    return TEMPORALS[name](in_features, **options).eval()


@pytest.mark.parametrize(("name", "options"), HEADS)
@pytest.mark.parametrize("time", [1, 7])
def test_a_head_gives_one_vector_of_its_declared_length_per_clip(name, options, time):
    head = build(name, options)
    assert head(torch.randn(3, time, 12)).shape == (3, head.num_features)


@pytest.mark.parametrize(("name", "options"), ORDERED)
def test_the_output_depends_on_the_order_of_the_frames(name, options):
    head, features = build(name, options), torch.randn(2, 7, 12)
    assert (head(features) - head(features.flip(1))).abs().max() > 1e-3


def test_the_mean_does_not_depend_on_the_order_of_the_frames():
    head, features = build("mean", {}), torch.randn(2, 7, 12)
    torch.testing.assert_close(head(features), head(features.flip(1)))


@pytest.mark.parametrize(("name", "options"), HEADS)
def test_every_frame_counts(name, options):
    head, features = build(name, options), torch.randn(1, 7, 12)
    for frame in range(7):
        changed = features.clone()
        changed[:, frame] += 1
        assert (head(features) - head(changed)).abs().max() > 1e-5, f"frame {frame} has no effect"


@pytest.mark.parametrize(("name", "options"), HEADS)
def test_the_output_does_not_depend_on_the_other_clips(name, options):
    head, features = build(name, options), torch.randn(4, 7, 12)
    torch.testing.assert_close(head(features)[1:2], head(features[1:2]))


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_bidirectional_final_state_has_seen_the_whole_clip_in_both_directions(name):
    head, features = build(name, {"hidden_features": 8, "bidirectional": True, "reduce": "last"}), torch.randn(1, 6, 12)
    for frame, half in ((0, slice(0, 8)), (5, slice(8, 16))):  # the far end of each direction
        changed = features.clone()
        changed[:, frame] += 3
        assert (head(features) - head(changed))[:, half].abs().max() > 1e-6


def test_a_clip_longer_than_max_len_is_refused_with_the_option_to_change():
    head = build("transformer", {"width": 8, "num_heads": 2, "max_len": 4})
    assert head(torch.randn(1, 4, 12)).shape == (1, 8)
    with pytest.raises(ValueError, match=r"5 frames is longer than temporal\.max_len=4"):
        head(torch.randn(1, 5, 12))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lstm", {"hidden_features": 0}, "hidden_features must be a positive whole number, got 0"),
        ("lstm", {"num_layers": True}, "num_layers must be"),
        ("gru", {"hidden_features": "64"}, "hidden_features must be"),
        ("lstm", {"reduce": "max"}, "reduce must be 'mean' or 'last'"),
        ("transformer", {"width": 10, "num_heads": 4}, "multiple of num_heads"),
    ],
)
def test_a_value_out_of_range_is_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        build(name, options)


# The original's public code runs its LSTM over the batch. `lstm_over_batch` does as it does; nothing else may.


def test_the_published_lstm_reads_the_other_clips_of_the_batch_and_not_the_order_of_the_frames():
    head, features = build("lstm_over_batch", {"hidden_features": 16}), torch.randn(4, 7, 12)
    output = head(features)
    torch.testing.assert_close(output, head(features.flip(1)))
    other_clip = features.clone()
    other_clip[0] += 1
    assert (output - head(other_clip))[1:].abs().max() > 1e-2
    assert head.mixes_clips


def test_in_the_published_lstm_earlier_frames_do_not_touch_the_last_output():
    head, features = build("lstm_over_batch", {"hidden_features": 16}), torch.randn(4, 7, 12)
    outputs = head.recurrent(features)[0]
    earlier_frames = features.clone()
    earlier_frames[:, :-1] += 1
    assert torch.equal(head.recurrent(earlier_frames)[0][:, -1], outputs[:, -1])
    another_video = features.clone()
    another_video[0, -1] += 1
    assert (head.recurrent(another_video)[0][1:, -1] - outputs[1:, -1]).abs().max() > 1e-2


def test_the_published_lstm_is_what_its_positional_call_builds():
    theirs = torch.nn.LSTM(12, 16, 1, False)  # meant as bidirectional=False
    ours = build("lstm_over_batch", {"hidden_features": 16}).recurrent
    assert {name: p.shape for name, p in theirs.named_parameters()} == {n: p.shape for n, p in ours.named_parameters()}
    assert (theirs.bias, theirs.batch_first, theirs.bidirectional) == (False, False, False)
    assert (ours.bias, ours.batch_first, ours.bidirectional) == (False, False, False)


def test_every_other_head_treats_the_clips_apart():
    assert {name for name, _ in HEADS} | {"lstm_over_batch"} == set(TEMPORALS)
    assert not any(build(name, options).mixes_clips for name, options in HEADS)
