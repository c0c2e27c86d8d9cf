"""Foundations for all other packages: types, errors, files, words, the machine."""
