"""Web application for uploading videos and viewing their scores; started by ``python -m dfd.web``.

Web processes receive files and show results, and never decode a video. Workers take jobs from a queue in the database
and score them with :class:`dfd.scoring.detector.Detector`. docs/web.md explains how to run it for others.
"""
