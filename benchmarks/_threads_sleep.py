"""Imported before torch: threads that wait for each other sleep, as in dfd's commands."""

from dfd.base.machine import wait_without_spinning

wait_without_spinning()
