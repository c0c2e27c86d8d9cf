"""Imported before torch: threads that wait for each other sleep, as in dfd's commands."""

from dfd.host import wait_without_spinning

wait_without_spinning()
