"""``python -m dfd.export``: write a detector as one file to share, with a model card beside it."""

from dfd.config.entry import door

main = door("export")

if __name__ == "__main__":
    main()
