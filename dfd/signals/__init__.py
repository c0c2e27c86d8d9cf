"""Signals in face pictures and face clips that no network learns: traces of upsampling, the pulse, blinks."""
