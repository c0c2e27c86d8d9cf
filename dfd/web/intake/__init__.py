"""Reception of uploads: admission of senders, and receiving of files."""
