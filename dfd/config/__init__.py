"""Options: schemas, composition, checks, and the edge of every command. The only package that knows Hydra beside
studies.
"""
