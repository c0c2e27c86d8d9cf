"""``python -m dfd.preprocess``: videos to a store of face-only clips. ``--help`` shows how."""

from dfd.config.entry import door

main = door("preprocess")

if __name__ == "__main__":
    main()
