"""The HTTP server, its logs, and the processes of a service on one machine."""
