"""The web page: upload a video, see what the detector makes of it. ``python -m dfd.web`` starts it.

The web processes take files in and show results; they never decode a video. Workers take jobs from a queue in the
database and score them with :class:`dfd.inference.Detector`. docs/web.md tells how to run it for others.
"""
