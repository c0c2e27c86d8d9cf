"""Evaluation of detectors on labelled videos: splits, disturbances, several data sets, and calibration."""
