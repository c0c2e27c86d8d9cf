"""Clips of a store for training and evaluation."""
